#include "trainer/engine/snapshot.h"

#include <gtest/gtest.h>

#include "tests/trainer/engine/train_step_runs.h"

namespace trainer::engine {
namespace {

class SnapshotTest : public ::testing::Test {
 protected:
  // Some 75 MB of state, so that touching it takes a while; one step, after which no moment is zero
  // throughout.
  SnapshotTest() {
    auto config = SmallModel();
    config.model.d_model = 512;
    config.model.feed_forward = 2048;
    torch::manual_seed(1);
    step_.emplace(model::MakeModel(config, kMels, kSpeakers), *communicator_, world_, OptionsOf(config));
    step_->Begin(0);
    step_->AddMicroBatch(BatchOf(world_, 0), /*last=*/true);
    step_->Finish(1e-3);
  }

  const launcher::World world_ = launcher::World::FromMpi();
  const std::unique_ptr<launcher::Communicator> communicator_ =
      launcher::MakeCommunicator(world_, torch::kCPU);
  std::optional<TrainStep> step_;
};

TEST_F(SnapshotTest, HoldsTheStateWhetherItsMemoryWasTouchedOrNot) {
  for (const bool prepared : {false, true}) {
    SnapshotBuffer buffer;
    if (prepared) buffer.Prepare(*step_);
    const auto snapshot = buffer.Take(*step_);
    buffer.Wait();
    const auto parameters = step_->model().named_parameters();
    ASSERT_GE(snapshot.model.size(), parameters.size());
    for (const auto& [name, tensor] : snapshot.model) {
      const auto* live = parameters.find(name);
      EXPECT_TRUE(live == nullptr || torch::equal(tensor, *live)) << name;
    }
    ASSERT_EQ(snapshot.optimizer.size(), 2 * step_->parameters().slots().size());
    for (size_t i = 0; i < snapshot.optimizer.size(); ++i) {
      const auto& slot = step_->parameters().slots()[i / 2];
      const auto& moment = i % 2 == 0 ? step_->optimizer().exp_avg() : step_->optimizer().exp_avg_sq();
      const auto& [name, tensor] = snapshot.optimizer[i];
      EXPECT_EQ(name, (i % 2 == 0 ? "exp_avg." : "exp_avg_sq.") + slot.name);
      EXPECT_TRUE(torch::equal(tensor, step_->parameters().View(moment, slot))) << name;
      EXPECT_TRUE(tensor.ne(0).any().item<bool>()) << name;
    }
  }
}

TEST_F(SnapshotTest, NeedNotBeTakenOnceItIsPrepared) {
  SnapshotBuffer buffer;
  buffer.Prepare(*step_);
}

}  // namespace
}  // namespace trainer::engine
