#include "data/synth.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>

namespace data {
namespace {

TEST(Synth, LengthsFollowTheLaw) {
  const SynthOptions options;
  constexpr int64_t kCount = 200000;
  std::vector<int64_t> frames;
  for (int64_t u = 0; u < kCount; ++u) frames.push_back(SynthFrames(options, u));
  std::sort(frames.begin(), frames.end());
  const auto quantile = [&](double q) {
    return static_cast<double>(frames[static_cast<size_t>(q * (kCount - 1))]);
  };
  EXPECT_GE(frames.front(), 91);
  EXPECT_LE(frames.back(), 7193);
  EXPECT_NEAR(quantile(0.10), 397, 5);
  EXPECT_NEAR(quantile(0.50), 540, 5);
  EXPECT_NEAR(quantile(0.90), 1055, 15);
  EXPECT_NEAR(quantile(0.99), 2149, 60);
  EXPECT_NEAR(std::accumulate(frames.begin(), frames.end(), 0.0) / kCount, 657, 10);
}

TEST(Synth, IsAFunctionOfSeedAndNumber) {
  SynthOptions options;
  options.max_frames = 100;
  EXPECT_EQ(Synthesize(options, 5), Synthesize(options, 5));
  EXPECT_NE(Synthesize(options, 5), Synthesize(options, 5 + options.speakers)) << "same speaker, other words";
  SynthOptions other = options;
  other.seed = 2;
  EXPECT_NE(Synthesize(options, 5), Synthesize(other, 5));
  EXPECT_EQ(Synthesize(options, 5).size(), 40u * 100u);
}

TEST(Synth, ValuesAreLogMels) {
  for (const int n_mels : {20, 40, 80}) {
    SynthOptions options;
    options.n_mels = n_mels;
    for (int64_t u = 0; u < 20; ++u) {
      for (const float value : Synthesize(options, u)) {
        ASSERT_TRUE(std::isfinite(value));
        ASSERT_GE(value, -20.7233f);
        ASSERT_LT(value, 20.0f);
      }
    }
  }
}

// Linear discriminant analysis: the first half of each speaker's utterances to learn from, the second to
// recognise. features: (per_speaker, speakers, K)
double Accuracy(const torch::Tensor& features) {
  const int64_t half = features.size(0) / 2, width = features.size(2);
  const torch::Tensor train = features.narrow(0, 0, half), test = features.narrow(0, half, half);
  const torch::Tensor mean = train.mean(0);                          // (speakers, K)
  const torch::Tensor within = (train - mean).reshape({-1, width});  // around each speaker's mean
  const torch::Tensor covariance = within.t().mm(within) / within.size(0);
  const torch::Tensor ridge = torch::eye(width, torch::kFloat64) * covariance.diagonal().mean() * 1e-2;
  const torch::Tensor whiten = torch::linalg_cholesky(torch::linalg_inv(covariance + ridge));
  const torch::Tensor distance =
      torch::cdist(test.matmul(whiten), mean.matmul(whiten));  // (half, speakers, speakers)
  const torch::Tensor right = distance.argmin(2) == torch::arange(mean.size(0));
  return right.to(torch::kFloat64).mean().item<double>();
}

TEST(Synth, SpeakersAreThereToBeFoundButNotInAverages) {
  torch::set_num_threads(1);
  constexpr int64_t kSpeakers = 60, kEach = 16;
  SynthOptions options;
  options.speakers = kSpeakers;
  std::vector<torch::Tensor> averages, movements;
  for (int64_t u = 0; u < kSpeakers * kEach; ++u) {
    std::vector<float> values = Synthesize(options, u);
    const auto mels =
        torch::from_blob(values.data(), {static_cast<int64_t>(values.size()) / 40, 40}, torch::kFloat32)
            .to(torch::kFloat64);
    const torch::Tensor average = mels.mean(0);
    averages.push_back(average);
    // How bands move, and move with others up to three bands away: a channel does not show in it.
    const torch::Tensor moved = mels - average;
    std::vector<torch::Tensor> products;
    for (int64_t k = 0; k < 4; ++k) {
      products.push_back((moved.narrow(1, 0, 40 - k) * moved.narrow(1, k, 40 - k)).mean(0));
    }
    movements.push_back(torch::cat(products));
  }
  const double by_average = Accuracy(torch::stack(averages).view({kEach, kSpeakers, -1}));
  const double by_movement = Accuracy(torch::stack(movements).view({kEach, kSpeakers, -1}));
  std::printf("accuracy by averages %.3f, by movements %.3f\n", by_average, by_movement);
  EXPECT_LT(by_average, 0.85) << "averages alone must not tell the speakers";
  EXPECT_GT(by_movement, 0.3) << "chance is 0.017";
}

}  // namespace
}  // namespace data
