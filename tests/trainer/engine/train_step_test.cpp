#include "trainer/engine/train_step.h"

#include <gtest/gtest.h>

#include "tests/trainer/engine/train_step_runs.h"
#include "tests/trainer/max_difference.h"

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

TEST(TrainStep, SynchronisedBatchNormsMakeManyRanksOne) {
  const auto world = launcher::World::FromMpi();
  launcher::World alone;
  alone.host = world.host;
  const auto config = SynchronisedConformer();
  // 50 steps at a rate that trains: the loss falls to less than half.
  const auto together = TrainOn(world, torch::kCPU, 50, -1, config, 3e-3);
  const auto single = TrainOn(alone, torch::kCPU, 50, -1, config, 3e-3);
  for (size_t i = 0; i < 50; ++i) {
    EXPECT_NEAR(together.figures[i].loss, single.figures[i].loss, 1e-5) << "step " << i;
  }
  EXPECT_LT(MaxDifference(together.logits, single.logits), 1e-4);
}

// Batch norms of one rank's utterances: the running statistics are the same on all ranks nevertheless, and
// the mean of the ranks' own.
TEST(TrainStep, RanksShareRunningStatistics) {
  const auto world = launcher::World::FromMpi();
  auto config = SynchronisedConformer();
  config.model.depth = 1;
  config.model.conv_norm = config.model.embedding_norm = "batch";
  const auto trained = TrainOn(world, torch::kCPU, 1, -1, config, 1e-3);
  // After one step from mean 0, the running mean is 0.1 times the mean over the ranks of each one's batch's.
  torch::manual_seed(1);
  const auto model = model::MakeModel(config, kMels, kSpeakers);
  std::vector<torch::Tensor> expected;
  for (int rank = 0; rank < world.size; ++rank) {
    torch::manual_seed(1);
    const auto one = model::MakeModel(config, kMels, kSpeakers);
    launcher::World as = world;
    as.rank = rank;
    const auto batch = BatchOf(as, 0);
    torch::NoGradGuard no_grad;
    one->Forward(batch.mels, batch.lengths);
    const auto buffers = one->buffers();
    expected.resize(buffers.size());
    for (size_t i = 0; i < buffers.size(); ++i) {
      const auto share = buffers[i].to(torch::kFloat32) / world.size;
      expected[i] = expected[i].defined() ? expected[i] + share : share;
    }
  }
  ASSERT_EQ(trained.buffers.size(), expected.size());
  ASSERT_EQ(expected.size(), 6u);  // mean, variance, count; of a convolution and of the embedding
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_LT(MaxDifference(trained.buffers[i].to(torch::kFloat32), expected[i]), 1e-5) << i;
  }
}

TEST(TrainStep, AverageOfTheWeightsFollowsThem) {
  const auto world = launcher::World::FromMpi();
  auto config = SmallModel();
  config.train.ema_decay = 0.5;
  auto expected = TrainOn(world, torch::kCPU, 0).parameters;
  for (int64_t updates = 1; updates <= 6; ++updates) {
    const double decay = std::min(0.5, static_cast<double>(1 + updates) / static_cast<double>(10 + updates));
    expected = expected * decay + TrainOn(world, torch::kCPU, updates).parameters * (1 - decay);
  }
  const auto trained = TrainOn(world, torch::kCPU, 6, -1, config);
  EXPECT_LT(MaxDifference(trained.average, expected), 1e-6);
  EXPECT_EQ(MaxDifference(trained.parameters, TrainOn(world, torch::kCPU, 6).parameters), 0);
  EXPECT_GT(MaxDifference(trained.average, trained.parameters), 1e-4);
}

// A margin makes the loss harder; what counts as right is who would be answered without it.
TEST(TrainStep, AccuracyIsThatWithoutAMargin) {
  const auto world = launcher::World::FromMpi();
  auto config = SmallModel();
  config.model.head = "cosine";
  config.loss.type = "am_softmax";
  config.loss.margin = 0;
  // Ten batches, at a learning rate of 0.
  const auto without = TrainOn(world, torch::kCPU, 10, -1, config, 0).figures;
  config.loss.margin = 1.5;  // so large that hardly any utterance would be right with it
  int64_t correct = 0;
  for (const char* type : {"am_softmax", "aam_softmax"}) {
    config.loss.type = type;
    const auto with = TrainOn(world, torch::kCPU, 10, -1, config, 0).figures;
    for (size_t i = 0; i < 10; ++i) {
      EXPECT_EQ(with[i].correct, without[i].correct) << type;
      EXPECT_GT(with[i].loss, without[i].loss + 1) << type;
      correct += static_cast<int64_t>(with[i].correct);
    }
  }
  EXPECT_GT(correct, 0);
}

TEST(TrainStep, AVoteTooLateIsRefused) {
  torch::manual_seed(1);
  const auto world = launcher::World::FromMpi();
  const auto communicator = launcher::MakeCommunicator(world, torch::kCPU);
  TrainStep step(model::MakeModel(SmallModel(), kMels, kSpeakers), *communicator, world,
                 OptionsOf(SmallModel()));
  step.Begin(0);
  step.AddMicroBatch(BatchOf(world, 0), /*last=*/true);
  EXPECT_THROW(step.VoteStop(), c10::Error);
  EXPECT_THROW(step.VoteFailed(), c10::Error);
  step.Finish(1e-3);
}

}  // namespace
}  // namespace trainer::engine
