#include "trainer/config/fields.h"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <type_traits>
#include <utility>

#include "absl/strings/match.h"

namespace trainer::config {
namespace {

template <typename T>
constexpr bool kIsList = false;
template <typename T, size_t n>
constexpr bool kIsList<std::array<T, n>> = true;

// `member` leads from a Config to the key's value: a const reference in, a const reference out.
template <typename Member>
Field Row(const char* key, Member member, Rule rule, const char* doc) {
  using T = std::remove_cvref_t<std::invoke_result_t<Member, const Config&>>;
  Field field;
  field.key = key;
  field.doc = doc;
  field.rule = rule;
  field.is_list = kIsList<T>;
  field.set = [=](const RawValue& raw, Config& config) {
    return Set(raw, rule, const_cast<T*>(&member(config)));  // the config is no constant
  };
  field.get = [=](const Config& config) { return nlohmann::json(member(config)); };
  return field;
}

template <typename Section, typename T>
Field Row(const char* key, Section Config::*section, T Section::*member, Rule rule, const char* doc) {
  return Row(
      key, [=](const Config& config) -> const T& { return config.*section.*member; }, std::move(rule), doc);
}

// A key of metrics.prometheus.
template <typename T>
Field Row(const char* key, T Config::Metrics::Prometheus::*member, Rule rule, const char* doc) {
  return Row(
      key, [=](const Config& config) -> const T& { return config.metrics.prometheus.*member; },
      std::move(rule), doc);
}

Rule Any() { return {}; }
Rule AtLeast(double min) { return {.min = min, .choices = {}}; }
Rule Above(double min) { return {.min = min, .excludes_min = true, .choices = {}}; }
Rule From(double min, double max) { return {.min = min, .max = max, .choices = {}}; }
// [min, max)
Rule Below(double min, double max) { return {.min = min, .max = max, .excludes_max = true, .choices = {}}; }
Rule OneOfNumbers(std::vector<int64_t> numbers) { return {.choices = {}, .numbers = std::move(numbers)}; }
Rule OneOf(std::vector<std::string> choices) { return {.choices = std::move(choices)}; }

// The upper bounds catch slipped fingers before they become an allocation; no sensible run comes near them.
std::vector<Field> MakeFields() {
  using C = Config;
  using P = Config::Metrics::Prometheus;
  return {
      Row("run.dir", &C::run, &C::Run::dir, Any(),
          "Folder for all that the run leaves behind; where empty, runs/ and the configuration file's name."),
      Row("run.seed", &C::run, &C::Run::seed, AtLeast(0),
          "Seed of the initial weights, the order of utterances, the crops and dropout."),
      Row("run.resume", &C::run, &C::Run::resume, OneOf({"auto", "never"}),
          "auto: go on from the newest valid checkpoint in run.dir, if any. never: start anew; a run.dir "
          "that holds one is refused."),

      Row("data.path", &C::data, &C::Data::path, Any(),
          "Data set folder (with dataset.json), as mels makes it. Must be set to train."),
      Row("data.train_split", &C::data, &C::Data::train_split, Any(), "Split to train on."),
      Row("data.valid_split", &C::data, &C::Data::valid_split, Any(),
          "Split that validation chooses the best model on."),
      Row("data.crop_frames", &C::data, &C::Data::crop_frames, From(1, 1e6),
          "Frames (10 ms each) of the random crop taken of each utterance; shorter ones are padded."),
      Row("data.min_crop_frames", &C::data, &C::Data::min_crop_frames, From(0, 1e6),
          "Where above 0, each step draws its crops' length anew from data.min_crop_frames to "
          "data.crop_frames."),
      Row("data.normalize", &C::data, &C::Data::normalize, OneOf({"none", "mean", "mean_variance"}),
          "What is taken off each mel over the frames that the model is given: nothing, its mean (and with "
          "it "
          "the microphone), or its mean and deviation."),
      Row("data.prefetch_batches", &C::data, &C::Data::prefetch_batches, From(1, 1024),
          "Batches each rank reads ahead; bounds the loader's memory."),
      Row("data.stage_to", &C::data, &C::Data::stage_to, Any(),
          "Folder on each host's own disk: one rank of a host copies the shards that the run needs there, "
          "once, and "
          "all read the copy; where empty, they read data.path itself."),

      Row("model.type", &C::model, &C::Model::type, OneOf({"transformer", "conformer"}), "Kind of encoder."),
      Row("model.d_model", &C::model, &C::Model::d_model, From(1, 65536), "Transformer: its width."),
      Row("model.layers", &C::model, &C::Model::layers, From(1, 1024), "Transformer: encoder layers."),
      Row("model.heads", &C::model, &C::Model::heads, From(1, 1024),
          "Attention heads; in a Transformer they must divide model.d_model."),
      Row("model.feed_forward", &C::model, &C::Model::feed_forward, From(1, 1048576),
          "Transformer: width of each layer's feed-forward part."),
      Row("model.dropout", &C::model, &C::Model::dropout, Below(0, 1), "Transformer: dropout probability."),
      Row("model.activation", &C::model, &C::Model::activation, OneOf({"relu", "gelu"}),
          "Transformer: activation in the feed-forward parts."),
      Row("model.dim", &C::model, &C::Model::dim, From(1, 65536), "Conformer: its width."),
      Row("model.depth", &C::model, &C::Model::depth, From(1, 1024), "Conformer: blocks."),
      Row("model.dim_head", &C::model, &C::Model::dim_head, From(1, 65536),
          "Conformer: width of each attention head."),
      Row("model.ff_mult", &C::model, &C::Model::ff_mult, From(1, 64),
          "Conformer: the feed-forward parts are so many times wider than model.dim."),
      Row("model.conv_expansion_factor", &C::model, &C::Model::conv_expansion_factor, From(1, 64),
          "Conformer: the convolution is so many times wider than model.dim."),
      Row("model.conv_kernel_size", &C::model, &C::Model::conv_kernel_size, From(1, 4096),
          "Conformer: frames that a convolution sees."),
      Row("model.max_distance", &C::model, &C::Model::max_distance, From(1, 65536),
          "Conformer: attention tells distances up to so many frames apart; beyond, all are one. Above the "
          "crops' length they are never trained."),
      Row("model.attn_dropout", &C::model, &C::Model::attn_dropout, Below(0, 1),
          "Conformer: dropout after the attention."),
      Row("model.ff_dropout", &C::model, &C::Model::ff_dropout, Below(0, 1),
          "Conformer: dropout in the feed-forward parts."),
      Row("model.conv_dropout", &C::model, &C::Model::conv_dropout, Below(0, 1),
          "Conformer: dropout after the convolution."),
      Row("model.causal", &C::model, &C::Model::causal, Any(),
          "Conformer: the convolutions see no later frame (attention still does) and batch norm is left "
          "out."),
      Row("model.conv_norm", &C::model, &C::Model::conv_norm, OneOf({"batch", "sync_batch", "layer"}),
          "Conformer: norm in the convolution. batch: over each rank's own utterances; sync_batch: over "
          "those "
          "of all ranks, so that any number of ranks computes the same (with "
          "train.accumulate=1); layer: over each frame."),
      Row("model.compat", &C::model, &C::Model::compat, OneOf({"none", "reference"}),
          "Conformer: reference does as the Python package conformer 0.3.2: no dropout, and padding is "
          "treated "
          "as speech."),
      Row("model.subsampling", &C::model, &C::Model::subsampling, OneOfNumbers({1, 2, 4}),
          "Conformer: strided convolutions keep one frame in so many."),
      Row("model.stochastic_depth", &C::model, &C::Model::stochastic_depth, Below(0, 1),
          "Conformer: probability that an utterance passes by a part of the last block; it rises linearly "
          "from "
          "the first block on."),
      Row("model.mfa", &C::model, &C::Model::mfa, Any(),
          "Conformer: pool over all blocks' outputs side by side (multi-scale feature aggregation), not over "
          "the last block's alone."),
      Row("model.pooling", &C::model, &C::Model::pooling,
          OneOf({"mean", "statistics", "self_attentive", "attentive_statistics"}),
          "From frames to one vector. mean; statistics: mean and deviation; the attentive ones weigh the "
          "frames."),
      Row("model.embedding", &C::model, &C::Model::embedding, From(0, 65536),
          "Width of a linear layer after the pooling, whose output is the speaker embedding; 0: no such "
          "layer."),
      Row("model.embedding_norm", &C::model, &C::Model::embedding_norm,
          OneOf({"none", "batch", "sync_batch", "layer"}),
          "Norm of that layer's output, as model.conv_norm."),
      Row("model.embedding_dropout", &C::model, &C::Model::embedding_dropout, Below(0, 1),
          "Dropout of the embedding."),
      Row("model.head", &C::model, &C::Model::head, OneOf({"mlp", "linear", "cosine"}),
          "Classifier. mlp: two linear layers with a ReLU between; linear: one; cosine: loss.scale times the "
          "cosine between the embedding and each speaker's centre."),
      Row("model.init_from", &C::model, &C::Model::init_from, Any(),
          "Checkpoint folder or .safetensors file to take the initial weights from; where empty, they come "
          "from run.seed."),

      Row("loss.type", &C::loss, &C::Loss::type, OneOf({"cross_entropy", "am_softmax", "aam_softmax"}),
          "The margin losses need model.head=cosine."),
      Row("loss.scale", &C::loss, &C::Loss::scale, Above(0), "What model.head=cosine multiplies cosines by."),
      Row("loss.margin", &C::loss, &C::Loss::margin, Below(0, 1),
          "What the right speaker's cosine (am_softmax) or angle in radians (aam_softmax) is worsened by."),
      Row("loss.margin_warmup_steps", &C::loss, &C::Loss::margin_warmup_steps, AtLeast(0),
          "Steps over which the margin rises linearly from 0."),
      Row("loss.sub_centres", &C::loss, &C::Loss::sub_centres, From(1, 64),
          "Centres a speaker with model.head=cosine; the nearest counts."),
      Row("loss.label_smoothing", &C::loss, &C::Loss::label_smoothing, Below(0, 1),
          "Share of each target that is spread evenly over all speakers."),

      Row("augment.gain_db", &C::augment, &C::Augment::gain_db, From(0, 60),
          "Each crop gets louder or softer by up to so many dB."),
      Row("augment.noise_probability", &C::augment, &C::Augment::noise_probability, From(0, 1),
          "Share of the crops that noise of a random colour is added to."),
      Row("augment.babble_probability", &C::augment, &C::Augment::babble_probability, From(0, 1),
          "Share of the crops that other training speakers' voices are added to."),
      Row("augment.babble_voices", &C::augment, &C::Augment::babble_voices, From(1, 64),
          "Most voices in such babble."),
      Row("augment.snr_db", &C::augment, &C::Augment::snr_db, From(-40, 100),
          "Range of the signal-to-noise ratio, for noise and babble."),
      Row("augment.time_masks", &C::augment, &C::Augment::time_masks, From(0, 100),
          "SpecAugment: stretches of frames that are blotted out."),
      Row("augment.time_mask_frames", &C::augment, &C::Augment::time_mask_frames, From(0, 1e6),
          "SpecAugment: most frames in such a stretch."),
      Row("augment.frequency_masks", &C::augment, &C::Augment::frequency_masks, From(0, 100),
          "SpecAugment: bands of mels that are blotted out."),
      Row("augment.frequency_mask_mels", &C::augment, &C::Augment::frequency_mask_mels, From(0, 1024),
          "SpecAugment: most mels in such a band."),

      Row("optimizer.lr", &C::optimizer, &C::Optimizer::lr, Above(0), "AdamW's peak learning rate."),
      Row("optimizer.betas", &C::optimizer, &C::Optimizer::betas, Below(0, 1),
          "Decay of AdamW's averages of the gradient and of its square."),
      Row("optimizer.eps", &C::optimizer, &C::Optimizer::eps, Above(0), "Added to AdamW's denominator."),
      Row("optimizer.weight_decay", &C::optimizer, &C::Optimizer::weight_decay, AtLeast(0),
          "Decoupled weight decay, on every parameter."),
      Row("optimizer.clip_norm", &C::optimizer, &C::Optimizer::clip_norm, AtLeast(0),
          "Largest global norm of the gradient; 0: no clipping."),

      Row("schedule.warmup_steps", &C::schedule, &C::Schedule::warmup_steps, AtLeast(0),
          "Steps over which the learning rate rises linearly from 0."),
      Row("schedule.total_steps", &C::schedule, &C::Schedule::total_steps, AtLeast(1),
          "Steps of the whole run."),
      Row("schedule.cycles", &C::schedule, &C::Schedule::cycles, AtLeast(0),
          "Cosine waves after the warm-up; 0.5: one descent to 0."),

      Row("train.global_batch", &C::train, &C::Train::global_batch, From(1, 16777216),
          "Utterances a step, over all ranks: the same run on any number of ranks that divides it."),
      Row("train.accumulate", &C::train, &C::Train::accumulate, From(1, 65536),
          "Parts that a rank's share of a step is computed in, to save memory; must divide "
          "train.global_batch."),
      Row("train.ema_decay", &C::train, &C::Train::ema_decay, Below(0, 1),
          "Above 0: validate and keep an exponential moving average of the weights, e.g. 0.999."),
      Row("train.log_every", &C::train, &C::Train::log_every, AtLeast(1), "Steps between log lines."),
      Row("train.validate_every", &C::train, &C::Train::validate_every, AtLeast(0),
          "Steps between validations; 0: only at the end."),
      Row("train.device", &C::train, &C::Train::device, OneOf({"auto", "cpu", "cuda"}),
          "Where to compute. auto: on the GPUs if there are any."),
      Row("train.threads", &C::train, &C::Train::threads, From(0, 4096),
          "CPU threads a rank; 0: the machine's cores shared out among its ranks."),
      Row("train.bind", &C::train, &C::Train::bind, OneOf({"auto", "none"}),
          "Cores of a rank. auto: on hosts with several NUMA nodes a share of its own, near its GPU, unless "
          "mpirun or SLURM has bound it. none: left as it is."),
      Row("train.precision", &C::train, &C::Train::precision, OneOf({"fp32", "bf16", "auto"}),
          "Of training's matrix products; parameters, sums and validation stay fp32. bf16: faster where the "
          "processor "
          "has it; auto: bf16 there, fp32 elsewhere."),
      Row("train.kernels", &C::train, &C::Train::kernels, OneOf({"fused", "plain"}),
          "On CPUs. fused: several operations in one pass; plain: LibTorch's own one after the other, which "
          "the "
          "fused ones are tested against."),
      Row("train.bucket_mib", &C::train, &C::Train::bucket_mib, Above(0),
          "MiB of gradients that are all-reduced at a time, while backward goes on."),
      Row("train.first_bucket_mib", &C::train, &C::Train::first_bucket_mib, Above(0),
          "MiB of the first such piece: small, so that communication starts early."),

      Row("checkpoint.every", &C::checkpoint, &C::Checkpoint::every, AtLeast(0),
          "Steps between checkpoints; 0: only at the end, and when stopped."),
      Row("checkpoint.keep", &C::checkpoint, &C::Checkpoint::keep, AtLeast(1),
          "Newest checkpoints to keep, beside the best one."),
      Row("checkpoint.async", &C::checkpoint, &C::Checkpoint::async, Any(),
          "Write checkpoints beside training, which waits only while they are copied in memory. false: until "
          "they are on the disk."),

      Row("watchdog.timeout_seconds", &C::watchdog, &C::Watchdog::timeout_seconds, From(0, 1e6),
          "Seconds without any progress after which a run is ended, with a line that names the late rank; 0: "
          "never, as for a debugger."),
      Row("watchdog.first_step_seconds", &C::watchdog, &C::Watchdog::first_step_seconds, From(0, 1e6),
          "The same until the first step is done, if that is longer."),
      Row("watchdog.validation_seconds", &C::watchdog, &C::Watchdog::validation_seconds, From(0, 1e6),
          "The same in validation, while saving, and at the end of the run, if that is longer."),

      Row("metrics.tensorboard", &C::metrics, &C::Metrics::tensorboard, Any(),
          "Write event files for TensorBoard to run.dir/tensorboard."),
      Row("metrics.progress", &C::metrics, &C::Metrics::progress, OneOf({"auto", "always", "never"}),
          "The line that is redrawn in place. auto: on a terminal."),
      Row("metrics.peak_tflops", &C::metrics, &C::Metrics::peak_tflops, AtLeast(0),
          "What one rank's device could do at most, in 1e12 floating-point operations a second, for the "
          "model "
          "FLOPs utilisation; 0: as known for the GPU, and none on CPUs."),
      Row("metrics.prometheus.address", &P::address, Any(),
          "Where Prometheus may fetch the metrics: host:port, or a port of this machine alone; where empty, "
          "nowhere. A busy port gives way to the next free one."),
      Row("metrics.prometheus.auth_file", &P::auth_file, Any(),
          "File with one line, user:password, that whoever fetches must give; where empty, none."),
      Row("metrics.prometheus.pushgateway", &P::pushgateway, Any(),
          "Pushgateway (host:port) that the metrics are pushed to; where empty, none."),
      Row("metrics.prometheus.push_auth_file", &P::push_auth_file, Any(),
          "File with one line, user:password, that the Pushgateway wants; where empty, none."),
      Row("metrics.prometheus.push_seconds", &P::push_seconds, From(1, 86400), "Seconds between pushes."),
      Row("metrics.prometheus.textfile", &P::textfile, Any(),
          "File (*.prom) for node_exporter's textfile collector, rewritten at every log line; where empty, "
          "none."),
  };
}

}  // namespace

const std::vector<Field>& Fields() {
  static const std::vector<Field> fields = MakeFields();
  return fields;
}

const Field* FindField(const std::string& key) {
  for (const Field& field : Fields()) {
    if (field.key == key) return &field;
  }
  return nullptr;
}

bool IsSection(const std::string& name) {
  return std::any_of(Fields().begin(), Fields().end(),
                     [&](const Field& field) { return absl::StartsWith(field.key, name + "."); });
}

std::vector<std::string> AllKeys() {
  std::vector<std::string> keys;
  for (const Field& field : Fields()) keys.push_back(field.key);
  return keys;
}

}  // namespace trainer::config
