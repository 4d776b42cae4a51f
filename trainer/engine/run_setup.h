// What a run is made of, from its configuration and its data: for training, and for `trainer preflight`,
// which must come to the same.
#pragma once

#include <torch/torch.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/status.h"
#include "data/batch.h"
#include "launcher/mpi_session.h"
#include "trainer/checkpoint/checkpoint_store.h"
#include "trainer/config/config.h"
#include "trainer/engine/train_step.h"
#include "trainer/engine/training_data.h"
#include "trainer/model/classifier.h"

namespace trainer::engine {

// The model with the initial weights of run.seed, on the CPU: the same on all ranks.
std::shared_ptr<model::Classifier> MakeRunModel(const config::Config& config, const TrainingData& data);

// Collective: by itself a run takes bfloat16 only where all ranks gain by it.
TrainStepOptions StepOptionsOf(const config::Config& config, const launcher::World& world,
                               torch::Device device);

// What a rank that has no data computes on, where the others could not go on without it; the step is thrown
// away.
data::Batch SilentBatch(const config::Config& config, const launcher::World& world, int64_t n_mels);

// Takes the initial weights from model.init_from, where that is set. Errors, which name the key: as
// checkpoint::LoadModel and InitialiseFrom.
absl::Status InitialiseModel(const config::Config& config, model::Classifier& model);

// kInvalidArgument where run.resume=never and the run folder holds checkpoints.
absl::Status CheckMayResume(const config::Config& config, const checkpoint::CheckpointStore& store);

// Whether the run can go on from a checkpoint with this `state`, which is in `folder`. kInvalidArgument names
// what differs, and what to do.
absl::Status CheckResumable(const config::Config& config, const TrainingData& data,
                            const nlohmann::json& state, const std::string& folder);

}  // namespace trainer::engine
