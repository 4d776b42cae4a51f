// The training step on a GPU against the CPU.
#include <gtest/gtest.h>

#include "launcher/device.h"
#include "tests/trainer/engine/train_step_runs.h"

namespace trainer::engine {
namespace {

TEST(TrainStepOnGpu, DoesWhatTheCpuDoes) {
  if (!torch::cuda::is_available()) GTEST_SKIP() << "no CUDA device";
  const auto world = launcher::World::FromMpi();
  const auto device = launcher::BindDevice(world, {"cuda", 1});
  ASSERT_TRUE(device.ok()) << device.status();
  at::globalContext().setAllowTF32CuBLAS(false);
  const auto cpu = TrainOn(world, torch::kCPU, 20, /*voter=*/0),
             gpu = TrainOn(world, *device, 20, /*voter=*/0);
  ASSERT_EQ(gpu.figures.size(), 20u);
  for (size_t i = 0; i < 20; ++i) {
    EXPECT_NEAR(gpu.figures[i].loss, cpu.figures[i].loss, 1e-4) << "step " << i;
    EXPECT_EQ(gpu.figures[i].stop, i == 2) << "step " << i;
  }
}

TEST(TrainStepOnGpu, TrainsTheConformerAsTheCpuDoes) {
  if (!torch::cuda::is_available()) GTEST_SKIP() << "no CUDA device";
  const auto world = launcher::World::FromMpi();
  const auto device = launcher::BindDevice(world, {"cuda", 1});
  ASSERT_TRUE(device.ok()) << device.status();
  at::globalContext().setAllowTF32CuBLAS(false);
  at::globalContext().setAllowTF32CuDNN(false);
  auto config = SynchronisedConformer();
  config.model.head = "cosine";
  config.loss.type = "aam_softmax";
  config.loss.margin_warmup_steps = 10;
  config.train.ema_decay = 0.9;
  const auto cpu = TrainOn(world, torch::kCPU, 20, -1, config, 1e-3),
             gpu = TrainOn(world, *device, 20, -1, config, 1e-3);
  ASSERT_EQ(gpu.figures.size(), 20u);
  for (size_t i = 0; i < 20; ++i) {
    EXPECT_NEAR(gpu.figures[i].loss, cpu.figures[i].loss, 1e-3 * cpu.figures[i].loss) << "step " << i;
  }
  EXPECT_LT((gpu.average - cpu.average).abs().max().item<double>(), 2e-3);
  EXPECT_LT((gpu.logits - cpu.logits).abs().max().item<double>(), 0.1);  // of logits up to 30
}

}  // namespace
}  // namespace trainer::engine
