// Short runs of a small model's TrainStep, for the tests of it on the CPU and on a GPU.
#pragma once

#include <torch/torch.h>

#include <vector>

#include "launcher/mpi_session.h"
#include "trainer/engine/train_step.h"
#include "trainer/model/factory.h"

namespace trainer::engine {

inline constexpr int64_t kGlobalBatch = 8, kFrames = 24, kMels = 10, kSpeakers = 5;

inline config::Config SmallModel() {
  config::Config config;
  config.model.d_model = 16;
  config.model.layers = 2;
  config.model.feed_forward = 32;
  config.model.dropout = 0;
  return config;
}

// This rank's part of the global batch of `step`.
inline data::Batch BatchOf(const launcher::World& world, int64_t step) {
  torch::manual_seed(1000 + static_cast<uint64_t>(step));
  const int64_t share = kGlobalBatch / world.size, first = world.rank * share;
  const auto part = [&](const torch::Tensor& all) { return all.slice(0, first, first + share).contiguous(); };
  data::Batch batch;
  batch.mels = part(torch::randn({kGlobalBatch, kFrames, kMels}));
  batch.speakers = part(torch::randint(kSpeakers, {kGlobalBatch}, torch::kInt64));
  batch.lengths = part(torch::randint(1, kFrames + 1, {kGlobalBatch}, torch::kInt64));
  batch.padded = true;
  return batch;
}

// A Conformer whose batch norms span the ranks.
inline config::Config SynchronisedConformer() {
  config::Config config;
  auto& model = config.model;
  model.type = "conformer";
  model.dim = 12;
  model.depth = 2;
  model.dim_head = 6;
  model.heads = 2;
  model.conv_kernel_size = 5;
  model.attn_dropout = model.ff_dropout = model.conv_dropout = 0;
  model.conv_norm = "sync_batch";
  model.pooling = "attentive_statistics";
  model.embedding = 8;
  model.embedding_norm = "sync_batch";
  model.head = "linear";
  return config;
}

inline TrainStepOptions OptionsOf(const config::Config& config) {
  return {1, kGlobalBatch, {1e-3, 4e-3}, {}, config.loss, config.train.ema_decay};
}

struct Trained {
  std::vector<StepFigures> figures;
  torch::Tensor parameters;
  torch::Tensor average;               // undefined without train.ema_decay
  std::vector<torch::Tensor> buffers;  // after the last step
  torch::Tensor logits;                // of fixed utterances, in evaluation mode
};

// `steps` steps from the same start; on rank `voter` a vote to stop in step 2.
inline Trained TrainOn(const launcher::World& world, torch::Device device, int64_t steps, int voter = -1,
                       const config::Config& config = SmallModel(), double learning_rate = 1e-2) {
  torch::manual_seed(1);
  auto model = model::MakeModel(config, kMels, kSpeakers);
  model->to(device);
  const auto communicator = launcher::MakeCommunicator(world, device);
  TrainStep step(std::move(model), *communicator, world, OptionsOf(config));
  Trained result;
  for (int64_t i = 0; i < steps; ++i) {
    step.Begin(i);
    if (i == 2 && world.rank == voter) step.VoteStop();
    step.WaitForCopies();
    step.AddMicroBatch(BatchOf(world, i), /*last=*/true);
    step.Finish(learning_rate);
    while (const auto figures = step.TakeFigures(/*flush=*/i + 1 == steps))
      result.figures.push_back(*figures);
  }
  result.parameters = step.parameters().values().to(torch::kCPU).clone();
  if (step.average().defined()) result.average = step.average().to(torch::kCPU).clone();
  for (const auto& buffer : step.model().buffers()) result.buffers.push_back(buffer.to(torch::kCPU).clone());
  step.model().eval();
  torch::NoGradGuard no_grad;
  torch::manual_seed(2);
  const auto mels = torch::randn({3, kFrames, kMels}).to(device);
  result.logits = step.model().Forward(mels, torch::Tensor()).to(torch::kCPU);
  return result;
}

}  // namespace trainer::engine
