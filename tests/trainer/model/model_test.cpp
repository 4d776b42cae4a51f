#include <gtest/gtest.h>
#include <torch/torch.h>

#include "trainer/model/factory.h"
#include "trainer/model/masking.h"

namespace trainer::model {
namespace {

using config::Config;

Config Simple() { return {}; }
Config Medium() {
  Config config;
  config.model.layers = 2;
  config.model.heads = 1;
  config.model.feed_forward = 512;
  config.model.head = "linear";
  return config;
}

double MaxDifference(const torch::Tensor& a, const torch::Tensor& b) {
  return (a - b).abs().max().item<double>();
}

TEST(Masking, MeanOverTimeIgnoresPadding) {
  auto x = torch::tensor({{{1.0, 2.0}, {3.0, 6.0}, {100.0, 100.0}}, {{1.0, 1.0}, {2.0, 2.0}, {3.0, 3.0}}});
  const auto mean = MeanOverTime(x, torch::tensor({2, 3}, torch::kInt64));
  EXPECT_TRUE(torch::equal(mean, torch::tensor({{2.0, 4.0}, {2.0, 2.0}})));
}

// An utterance's logits are the same alone, in any batch, at any place in it, and whatever the padding holds.
TEST(Model, OutputDoesNotDependOnBatchMatesOrPadding) {
  for (const auto& config : {Simple(), Medium()}) {
    torch::manual_seed(3);
    const auto model = MakeModel(config, 40, 30);
    model->eval();
    torch::NoGradGuard no_grad;
    const auto lengths = torch::tensor({37, 120, 1, 64}, torch::kInt64);
    auto mels = torch::randn({4, 120, 40}) * 3 - 8;
    const auto together = model->Forward(mels, lengths);
    for (int64_t i = 0; i < 4; ++i) {
      const auto alone = model->Forward(mels.slice(0, i, i + 1).slice(1, 0, lengths[i].item<int64_t>()), {});
      EXPECT_LT(MaxDifference(alone[0], together[i]), 1e-6);
    }
    auto other_padding = mels.clone();
    for (int64_t i = 0; i < 4; ++i) other_padding[i].slice(0, lengths[i].item<int64_t>()) = 1000;
    EXPECT_LT(MaxDifference(model->Forward(other_padding, lengths), together), 1e-6);
    const auto order = torch::tensor({2, 0, 3, 1}, torch::kInt64);
    const auto shuffled = model->Forward(mels.index_select(0, order), lengths.index_select(0, order));
    EXPECT_LT(MaxDifference(shuffled, together.index_select(0, order)), 1e-6);
  }
}

TEST(Model, OutputDependsOnEveryRealFrame) {
  const auto model = MakeModel(Simple(), 40, 30);
  model->eval();
  torch::NoGradGuard no_grad;
  const auto mels = torch::randn({1, 50, 40});
  const auto logits = model->Forward(mels, {});
  for (int64_t frame : {0, 25, 49}) {
    auto changed = mels.clone();
    changed[0][frame] += 1;
    EXPECT_GT(MaxDifference(model->Forward(changed, {}), logits), 1e-5) << "frame " << frame;
  }
}

TEST(Model, DropoutActsInTrainingAlone) {
  auto config = Simple();
  config.model.dropout = 0.5;
  const auto model = MakeModel(config, 40, 30);
  const auto mels = torch::randn({2, 30, 40});
  torch::NoGradGuard no_grad;
  model->train();
  EXPECT_GT(MaxDifference(model->Forward(mels, {}), model->Forward(mels, {})), 1e-3);
  model->eval();
  EXPECT_EQ(MaxDifference(model->Forward(mels, {}), model->Forward(mels, {})), 0);
}

TEST(Model, AnUnknownTypeIsABug) {
  auto config = Simple();
  config.model.type = "perceptron";
  EXPECT_THROW(MakeModel(config, 40, 30), std::logic_error);
}

}  // namespace
}  // namespace trainer::model
