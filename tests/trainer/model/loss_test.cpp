#include "trainer/model/loss.h"

#include <gtest/gtest.h>

#include <cmath>

namespace trainer::model {
namespace {

config::Config::Loss Options(const std::string& type) {
  config::Config::Loss options;
  options.type = type;
  options.scale = 10;
  options.margin = 0.3;
  return options;
}

double CrossEntropy(std::vector<double> logits, size_t target) {
  double sum = 0;
  for (const double logit : logits) sum += std::exp(logit);
  return std::log(sum) - logits[target];
}

double SumOf(const config::Config::Loss& options, const std::vector<double>& cosines, int64_t target) {
  const Loss loss(options);
  const auto logits = (torch::tensor(cosines) * options.scale).to(torch::kFloat32).unsqueeze(0);
  return loss.Sum(logits, torch::tensor({target}, torch::kInt64), loss.MarginAt(1000)).item<double>();
}

TEST(Loss, CrossEntropyHasNoMargin) {
  EXPECT_NEAR(SumOf(Options("cross_entropy"), {0.5, -0.2, 0.1}, 1), CrossEntropy({5, -2, 1}, 1), 1e-5);
}

TEST(Loss, AdditiveMarginIsTakenOffTheCosine) {
  EXPECT_NEAR(SumOf(Options("am_softmax"), {0.5, -0.2, 0.1}, 0), CrossEntropy({2, -2, 1}, 0), 1e-5);
}

TEST(Loss, AngularMarginIsAddedToTheAngle) {
  const double moved = 10 * std::cos(std::acos(0.5) + 0.3);
  EXPECT_NEAR(SumOf(Options("aam_softmax"), {0.5, -0.2, 0.1}, 0), CrossEntropy({moved, -2, 1}, 0), 1e-4);
  // Beyond pi the cosine would rise again.
  const double far = 10 * (-0.99 - 0.3 * std::sin(0.3));
  EXPECT_NEAR(SumOf(Options("aam_softmax"), {-0.99, -0.2, 0.1}, 0), CrossEntropy({far, -2, 1}, 0), 1e-4);
}

TEST(Loss, AngularMarginFallsAllTheWayAndHasFiniteSlopes) {
  const Loss loss(Options("aam_softmax"));
  auto cosines = torch::linspace(-1, 1, 401).requires_grad_();
  const auto logits = torch::stack({10 * cosines, torch::zeros(401)}, 1);
  std::vector<double> values;
  for (int64_t i = 0; i < 401; ++i) {
    values.push_back(
        loss.Sum(logits.slice(0, i, i + 1).detach(), torch::tensor({0}, torch::kInt64), 0.3).item<double>());
  }
  for (size_t i = 1; i < values.size(); ++i) EXPECT_LT(values[i], values[i - 1]) << i;
  loss.Sum(logits, torch::zeros({401}, torch::kInt64), 0.3).backward();
  EXPECT_TRUE(cosines.grad().isfinite().all().item<bool>());
}

TEST(Loss, SmoothingSpreadsItsShareOverAllSpeakers) {
  auto options = Options("cross_entropy");
  options.label_smoothing = 0.3;
  const std::vector<double> logits = {5, -2, 1};
  const double expected = 0.7 * CrossEntropy(logits, 1) +
                          0.1 * (CrossEntropy(logits, 0) + CrossEntropy(logits, 1) + CrossEntropy(logits, 2));
  EXPECT_NEAR(SumOf(options, {0.5, -0.2, 0.1}, 1), expected, 1e-5);
}

TEST(Loss, MarginWarmsUpLinearly) {
  auto options = Options("am_softmax");
  options.margin_warmup_steps = 100;
  const Loss loss(options);
  EXPECT_EQ(loss.MarginAt(0), 0);
  EXPECT_NEAR(loss.MarginAt(50), 0.15, 1e-12);
  EXPECT_EQ(loss.MarginAt(100), 0.3);
  EXPECT_EQ(loss.MarginAt(100000), 0.3);
  EXPECT_EQ(Loss(Options("cross_entropy")).MarginAt(5), 0);
}

}  // namespace
}  // namespace trainer::model
