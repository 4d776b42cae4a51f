#include <gtest/gtest.h>
#include <torch/torch.h>

#include <algorithm>

#include "tests/trainer/max_difference.h"
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

Config Hard() {
  Config config;
  config.model.type = "conformer";
  config.model.head = "linear";
  return config;
}
// All that a Conformer can have, at once.
Config Boss(int64_t subsampling, const std::string& pooling) {
  Config config = Hard();
  config.data.normalize = "mean_variance";
  config.model.conv_kernel_size = 8;
  config.model.subsampling = subsampling;
  config.model.mfa = true;
  config.model.pooling = pooling;
  config.model.embedding = 24;
  config.model.head = "cosine";
  config.loss.sub_centres = 2;
  return config;
}

TEST(Masking, MeanOverTimeIgnoresPadding) {
  auto x = torch::tensor({{{1.0, 2.0}, {3.0, 6.0}, {100.0, 100.0}}, {{1.0, 1.0}, {2.0, 2.0}, {3.0, 3.0}}});
  const auto mean = MeanOverTime(x, torch::tensor({2, 3}, torch::kInt64));
  EXPECT_TRUE(torch::equal(mean, torch::tensor({{2.0, 4.0}, {2.0, 2.0}})));
}

// 1e-5; of scaled cosines, which are larger, 16 units in the last place.
double Limit(const torch::Tensor& logits) {
  return std::max(1e-5, 16 * 0x1p-23 * logits.abs().max().item<double>());
}

// An utterance's logits are the same alone, in any batch, at any place in it, and whatever the padding holds.
TEST(Model, OutputDoesNotDependOnBatchMatesOrPadding) {
  for (const auto& config : {Simple(), Medium(), Hard(), Boss(1, "statistics"), Boss(2, "self_attentive"),
                             Boss(4, "attentive_statistics")}) {
    torch::manual_seed(3);
    const auto model = MakeModel(config, 40, 30);
    model->eval();
    torch::NoGradGuard no_grad;
    const auto lengths = torch::tensor({37, 120, 1, 64}, torch::kInt64);
    auto mels = torch::randn({4, 120, 40}) * 3 - 8;
    const auto together = model->Forward(mels, lengths);
    for (int64_t i = 0; i < 4; ++i) {
      const auto alone = model->Forward(mels.slice(0, i, i + 1).slice(1, 0, lengths[i].item<int64_t>()), {});
      EXPECT_LT(MaxDifference(alone[0], together[i]), Limit(together));
    }
    auto other_padding = mels.clone();
    for (int64_t i = 0; i < 4; ++i) other_padding[i].slice(0, lengths[i].item<int64_t>()) = 1000;
    EXPECT_LT(MaxDifference(model->Forward(other_padding, lengths), together), Limit(together));
    const auto order = torch::tensor({2, 0, 3, 1}, torch::kInt64);
    const auto shuffled = model->Forward(mels.index_select(0, order), lengths.index_select(0, order));
    EXPECT_LT(MaxDifference(shuffled, together.index_select(0, order)), Limit(together));
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

TEST(Model, NormalisingTakesOffWhatAMicrophoneAdds) {
  auto config = Hard();
  config.data.normalize = "mean";
  const auto model = MakeModel(config, 40, 30);
  model->eval();
  torch::NoGradGuard no_grad;
  const auto mels = torch::randn({2, 30, 40});
  const auto logits = model->Forward(mels, {});
  EXPECT_LT(MaxDifference(model->Forward(mels + 3 * torch::randn({40}), {}), logits), 1e-4);
  EXPECT_GT(MaxDifference(model->Forward(2 * mels, {}), logits), 1e-2);
}

TEST(Model, CosineLogitsAreScaledCosinesWithTheNearestCentre) {
  auto config = Boss(1, "mean");
  config.loss.scale = 7;
  const auto model = MakeModel(config, 40, 5);
  model->eval();
  torch::NoGradGuard no_grad;
  const auto centres = model->named_parameters()["pred_layer.weight"];  // (10, 24)
  const auto logits = model->Logits(3 * centres.slice(0, 4, 5));        // the first centre of class 2
  EXPECT_NEAR(logits[0][2].item<double>(), 7, 1e-5);
  EXPECT_EQ(logits.argmax(1).item<int64_t>(), 2);
  const auto cosines = torch::cosine_similarity(centres.slice(0, 4, 5), centres, 1);
  EXPECT_LT(MaxDifference(logits[0], 7 * cosines.view({5, 2}).amax(1)), 1e-5);
}

TEST(Model, AnUnknownTypeIsABug) {
  auto config = Simple();
  config.model.type = "perceptron";
  EXPECT_THROW(MakeModel(config, 40, 30), std::logic_error);
}

}  // namespace
}  // namespace trainer::model
