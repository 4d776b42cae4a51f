#include "trainer/config/fields.h"

#include <algorithm>
#include <cstdint>
#include <utility>

namespace trainer::config {
namespace {

template <typename T>
constexpr bool kIsList = false;
template <typename T, size_t n>
constexpr bool kIsList<std::array<T, n>> = true;

template <typename Section, typename T>
Field Row(const char* key, Section Config::*section, T Section::*member, Rule rule, const char* doc) {
  Field field;
  field.key = key;
  field.doc = doc;
  field.rule = rule;
  field.is_list = kIsList<T>;
  field.set = [=](const RawValue& raw, Config& config) { return Set(raw, rule, &(config.*section.*member)); };
  field.get = [=](const Config& config) { return nlohmann::json(config.*section.*member); };
  return field;
}

Rule Any() { return {}; }
Rule AtLeast(double min) { return {.min = min, .choices = {}}; }
Rule Above(double min) { return {.min = min, .excludes_min = true, .choices = {}}; }
Rule From(double min, double max) { return {.min = min, .max = max, .choices = {}}; }
// [min, max)
Rule Below(double min, double max) { return {.min = min, .max = max, .excludes_max = true, .choices = {}}; }
Rule OneOf(std::vector<std::string> choices) { return {.choices = std::move(choices)}; }

// The upper bounds catch slipped fingers before they become an allocation; no sensible run comes near them.
std::vector<Field> MakeFields() {
  using C = Config;
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
      Row("data.prefetch_batches", &C::data, &C::Data::prefetch_batches, From(1, 1024),
          "Batches each rank reads ahead; bounds the loader's memory."),

      Row("model.type", &C::model, &C::Model::type, OneOf({"transformer"}), "Kind of encoder."),
      Row("model.d_model", &C::model, &C::Model::d_model, From(1, 65536), "Width of the encoder."),
      Row("model.layers", &C::model, &C::Model::layers, From(1, 1024), "Encoder layers."),
      Row("model.heads", &C::model, &C::Model::heads, From(1, 1024),
          "Attention heads; must divide model.d_model."),
      Row("model.feed_forward", &C::model, &C::Model::feed_forward, From(1, 1048576),
          "Width of each layer's feed-forward part."),
      Row("model.dropout", &C::model, &C::Model::dropout, Below(0, 1), "Dropout probability in the encoder."),
      Row("model.activation", &C::model, &C::Model::activation, OneOf({"relu", "gelu"}),
          "Activation in the feed-forward parts."),
      Row("model.head", &C::model, &C::Model::head, OneOf({"mlp", "linear"}),
          "Classifier on the mean over time. mlp: two linear layers with a ReLU between; linear: one."),
      Row("model.init_from", &C::model, &C::Model::init_from, Any(),
          "Checkpoint folder or .safetensors file to take the initial weights from; where empty, they come "
          "from run.seed."),

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
      Row("train.log_every", &C::train, &C::Train::log_every, AtLeast(1), "Steps between log lines."),
      Row("train.validate_every", &C::train, &C::Train::validate_every, AtLeast(0),
          "Steps between validations; 0: only at the end."),
      Row("train.device", &C::train, &C::Train::device, OneOf({"auto", "cpu", "cuda"}),
          "Where to compute. auto: on the GPUs if there are any."),
      Row("train.threads", &C::train, &C::Train::threads, From(0, 4096),
          "CPU threads a rank; 0: the machine's cores shared out among its ranks."),
      Row("train.bucket_mib", &C::train, &C::Train::bucket_mib, Above(0),
          "MiB of gradients that are all-reduced at a time, while backward goes on."),
      Row("train.first_bucket_mib", &C::train, &C::Train::first_bucket_mib, Above(0),
          "MiB of the first such piece: small, so that communication starts early."),

      Row("checkpoint.every", &C::checkpoint, &C::Checkpoint::every, AtLeast(0),
          "Steps between checkpoints; 0: only at the end, and when stopped."),
      Row("checkpoint.keep", &C::checkpoint, &C::Checkpoint::keep, AtLeast(1),
          "Newest checkpoints to keep, beside the best one."),
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
                     [&](const Field& field) { return field.section() == name; });
}

std::vector<std::string> AllKeys() {
  std::vector<std::string> keys;
  for (const Field& field : Fields()) keys.push_back(field.key);
  return keys;
}

}  // namespace trainer::config
