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

}  // namespace
}  // namespace trainer::engine
