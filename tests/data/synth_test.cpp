#include "data/synth.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
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

// Nearest class by linear discriminant with a diagonal scale, from feature vectors of `per_speaker`
// utterances each: the first half to learn from, the second half to recognise.
double Accuracy(const std::vector<std::vector<double>>& features, int64_t speakers, int64_t per_speaker) {
  const size_t width = features[0].size();
  const int64_t train = per_speaker / 2;
  std::vector<std::vector<double>> mean(static_cast<size_t>(speakers), std::vector<double>(width));
  const auto at = [&](int64_t speaker, int64_t i) -> const std::vector<double>& {
    return features[static_cast<size_t>(i * speakers + speaker)];
  };
  std::vector<double> within(width, 1e-9);
  for (int64_t s = 0; s < speakers; ++s) {
    auto& m = mean[static_cast<size_t>(s)];
    for (int64_t i = 0; i < train; ++i) {
      for (size_t k = 0; k < width; ++k) m[k] += at(s, i)[k] / static_cast<double>(train);
    }
    for (int64_t i = 0; i < train; ++i) {
      for (size_t k = 0; k < width; ++k) within[k] += (at(s, i)[k] - m[k]) * (at(s, i)[k] - m[k]);
    }
  }
  int64_t right = 0, total = 0;
  for (int64_t s = 0; s < speakers; ++s) {
    for (int64_t i = train; i < per_speaker; ++i, ++total) {
      int64_t best = -1;
      double least = 0;
      for (int64_t c = 0; c < speakers; ++c) {
        double distance = 0;
        for (size_t k = 0; k < width; ++k) {
          const double d = at(s, i)[k] - mean[static_cast<size_t>(c)][k];
          distance += d * d / within[k];
        }
        if (best < 0 || distance < least) {
          best = c;
          least = distance;
        }
      }
      right += best == s;
    }
  }
  return static_cast<double>(right) / static_cast<double>(total);
}

TEST(Synth, SpeakersShowInMovementMoreThanInAverages) {
  constexpr int64_t kSpeakers = 40, kEach = 16;
  SynthOptions options;
  options.speakers = kSpeakers;
  std::vector<std::vector<double>> means, movements;
  for (int64_t u = 0; u < kSpeakers * kEach; ++u) {
    const std::vector<float> values = Synthesize(options, u);
    const size_t frames = values.size() / 40;
    std::vector<double> mean(40), movement(78);
    for (size_t t = 0; t < frames; ++t) {
      for (size_t m = 0; m < 40; ++m) mean[m] += values[t * 40 + m] / static_cast<double>(frames);
    }
    // How a band moves with its neighbours over time: no constant channel shows in it.
    for (size_t t = 0; t < frames; ++t) {
      for (size_t m = 0; m + 1 < 40; ++m) {
        const double a = values[t * 40 + m] - mean[m], b = values[t * 40 + m + 1] - mean[m + 1];
        movement[m] += a * a / static_cast<double>(frames);
        movement[39 + m] += a * b / static_cast<double>(frames);
      }
    }
    means.push_back(mean);
    movements.push_back(movement);
  }
  const double by_mean = Accuracy(means, kSpeakers, kEach),
               by_movement = Accuracy(movements, kSpeakers, kEach);
  RecordProperty("accuracy_by_mean_percent", static_cast<int>(100 * by_mean));
  RecordProperty("accuracy_by_movement_percent", static_cast<int>(100 * by_movement));
  EXPECT_LT(by_mean, 0.8) << "averages alone must not tell the speakers";
  EXPECT_GT(by_movement, 0.3) << "far above the chance of 0.025";
}

}  // namespace
}  // namespace data
