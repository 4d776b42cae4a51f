#include "trainer/engine/run_setup.h"

#include "absl/strings/str_cat.h"
#include "data/status_macros.h"
#include "launcher/control.h"
#include "trainer/engine/snapshot.h"
#include "trainer/engine/trained_model.h"
#include "trainer/kernels/context.h"
#include "trainer/model/factory.h"
#include "trainer/telemetry/log.h"

namespace trainer::engine {
namespace {

// Collective where `precision` is auto.
bool TakeBFloat16(const std::string& precision, torch::Device device, const launcher::World& world) {
  const bool is_fast = !device.is_cpu() || kernels::HasFastBFloat16();
  if (precision == "bf16" && !is_fast && world.local_rank == 0) {
    telemetry::Warn(absl::StrCat("train.precision=bf16: the processor of ", world.host,
                                 " has no instructions for it, so steps take longer than in fp32; "
                                 "train.precision=auto takes what is faster"));
  }
  if (precision != "auto") return precision == "bf16";
  const double gains = is_fast ? 1 : 0;
  return launcher::AllReduceSum({gains})[0] == world.size;
}

}  // namespace

std::shared_ptr<model::Classifier> MakeRunModel(const config::Config& config, const TrainingData& data) {
  const auto& manifest = data.dataset().manifest();
  torch::manual_seed(static_cast<uint64_t>(config.run.seed));
  auto model =
      model::MakeModel(config, manifest.front_end.n_mels, static_cast<int64_t>(manifest.speakers.size()));
  MarkSpeedCopies(manifest.speakers, manifest.speeds, *model);
  return model;
}

TrainStepOptions StepOptionsOf(const config::Config& config, const launcher::World& world,
                               torch::Device device) {
  TrainStepOptions options;
  options.seed = static_cast<uint64_t>(config.run.seed);
  options.global_batch = config.train.global_batch;
  options.buckets = {config.train.first_bucket_mib, config.train.bucket_mib};
  options.adamw = {config.optimizer.betas[0], config.optimizer.betas[1], config.optimizer.eps,
                   config.optimizer.weight_decay, config.optimizer.clip_norm};
  options.loss = config.loss;
  options.ema_decay = config.train.ema_decay;
  options.kernels.fused = config.train.kernels == "fused";
  if (TakeBFloat16(config.train.precision, device, world)) {
    options.kernels.precision = kernels::Precision::kBFloat16;
  }
  return options;
}

data::Batch SilentBatch(const config::Config& config, const launcher::World& world, int64_t n_mels) {
  const int64_t size = config.train.global_batch / (world.size * config.train.accumulate);
  data::Batch batch;
  batch.mels = torch::zeros({size, config.data.crop_frames, n_mels});
  batch.lengths = torch::full({size}, config.data.crop_frames, torch::kInt64);
  batch.speakers = torch::zeros({size}, torch::kInt64);
  return batch;
}

absl::Status InitialiseModel(const config::Config& config, model::Classifier& model) {
  if (config.model.init_from.empty()) return absl::OkStatus();
  const auto source = checkpoint::LoadModel(config.model.init_from);
  if (!source.ok()) {
    return absl::Status(source.status().code(), absl::StrCat("model.init_from: ", source.status().message()));
  }
  return InitialiseFrom(source->model, "model.init_from " + config.model.init_from, model);
}

absl::Status CheckMayResume(const config::Config& config, const checkpoint::CheckpointStore& store) {
  if (config.run.resume != "never") return absl::OkStatus();
  ASSIGN_OR_RETURN(const auto steps, store.Steps());
  if (steps.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(config.run.dir, " holds a run already (step ", steps.back(),
                   "); set run.resume=auto to go on with it, or another run.dir"));
}

absl::Status CheckResumable(const config::Config& config, const TrainingData& data,
                            const nlohmann::json& state, const std::string& folder) {
  // All of these decide which utterance comes when: with another value the run would skip some and repeat
  // others.
  if (state.value("speakers", nlohmann::json()) != data.dataset().manifest().speakers ||
      state.value("data_fingerprint", "") != data.Fingerprint()) {
    return absl::InvalidArgumentError(
        absl::StrCat(folder, " was trained on other data than ", config.data.path,
                     " holds now (its shards, its speakers or its split '", config.data.train_split,
                     "' differ); set data.path to that data set, or give this run another run.dir"));
  }
  const auto check = [&](const char* section, const char* key, const nlohmann::json& mine) -> absl::Status {
    const auto theirs = state.value(key, nlohmann::json());
    if (theirs == mine) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat(folder, " was made with ", section, ".", key, " = ", theirs.dump(), ", this run has ",
                     mine.dump(), "; set it back to go on, or give this run another run.dir"));
  };
  const auto saved = config::FromJson(state.value("config", nlohmann::json()), folder + "/state.json");
  RETURN_IF_ERROR(saved.status());
  if ((saved->train.ema_decay > 0) != (config.train.ema_decay > 0)) {
    return absl::InvalidArgumentError(
        absl::StrCat(folder, " was made with train.ema_decay = ", saved->train.ema_decay, ", this run has ",
                     config.train.ema_decay,
                     ", and an average of the weights cannot begin or end midway; set it back to "
                     "go on, or start anew in another run.dir with model.init_from=",
                     folder));
  }
  RETURN_IF_ERROR(check("run", "seed", config.run.seed));
  return check("train", "global_batch", config.train.global_batch);
}

}  // namespace trainer::engine
