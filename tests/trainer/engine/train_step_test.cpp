#include "trainer/engine/train_step.h"

#include <gtest/gtest.h>

#include "tests/trainer/engine/train_step_runs.h"

namespace trainer::engine {
namespace {

TEST(TrainStep, AVoteOfAnyRankReachesAllInItsStep) {
  const auto world = launcher::World::FromMpi();
  for (int voter = 0; voter < world.size; ++voter) {
    const auto trained = TrainOn(world, torch::kCPU, 4, voter);
    ASSERT_EQ(trained.figures.size(), 4u);
    for (size_t i = 0; i < 4; ++i) EXPECT_EQ(trained.figures[i].stop, i == 2) << "step " << i;
  }
}

TEST(TrainStep, ManyRanksDoWhatOneDoes) {
  const auto world = launcher::World::FromMpi();
  launcher::World alone;
  alone.host = world.host;
  const auto together = TrainOn(world, torch::kCPU, 10), single = TrainOn(alone, torch::kCPU, 10);
  for (size_t i = 0; i < 10; ++i) {
    EXPECT_NEAR(together.figures[i].loss, single.figures[i].loss, 1e-5);
    EXPECT_EQ(together.figures[i].correct, single.figures[i].correct);
    EXPECT_FALSE(together.figures[i].stop || together.figures[i].failed);
  }
}

TEST(TrainStep, AVoteTooLateIsRefused) {
  torch::manual_seed(1);
  const auto world = launcher::World::FromMpi();
  const auto communicator = launcher::MakeCommunicator(world, torch::kCPU);
  TrainStep step(model::MakeModel(SmallModel(), kMels, kSpeakers), *communicator, world,
                 {1, kGlobalBatch, {1e-3, 4e-3}, {}, {}});
  step.Begin(0);
  step.AddMicroBatch(BatchOf(world, 0), /*last=*/true);
  EXPECT_THROW(step.VoteStop(), c10::Error);
  EXPECT_THROW(step.VoteFailed(), c10::Error);
  step.Finish(1e-3);
}

}  // namespace
}  // namespace trainer::engine
