#include "data/silence.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "audio_fixtures.h"
#include "data/resample.h"

namespace data {
namespace {

constexpr int kRate = 16000;

// Pieces of tone (amplitude > 0) and silence, one after the other.
struct Piece {
  double seconds;
  float amplitude;
};
std::vector<float> Join(const std::vector<Piece>& pieces) {
  std::vector<float> joined;
  for (const Piece& piece : pieces) {
    const auto samples = testing::Tone(500, piece.seconds, kRate, piece.amplitude);
    joined.insert(joined.end(), samples.begin(), samples.end());
  }
  return joined;
}
double KeptSeconds(const std::vector<Piece>& pieces) {
  return static_cast<double>(TrimSilence(Join(pieces), kRate).size()) / kRate;
}

// The level is that of 20 ms: an end may be off by that much.
constexpr double kWindow = 0.021;

TEST(TrimSilence, CutsBothEndsAndLongPausesInside) {
  EXPECT_NEAR(KeptSeconds({{0.5, 0}, {1.0, 0.5}, {0.7, 0}}), 1.0, kWindow);
  EXPECT_NEAR(KeptSeconds({{1.0, 0.5}, {0.5, 0}, {1.0, 0.5}}), 2.0, 2 * kWindow);
  EXPECT_NEAR(KeptSeconds({{0.3, 0}, {0.4, 0.5}, {0.2, 0}, {0.6, 0.3}, {0.4, 0}, {0.5, 0.1}, {0.2, 0}}), 1.5,
              3 * kWindow);
}

TEST(TrimSilence, KeepsShortPauses) {
  EXPECT_DOUBLE_EQ(KeptSeconds({{1.0, 0.5}, {0.09, 0}, {1.0, 0.5}}), KeptSeconds({{2.09, 0.5}}));
  // A pause that the end cuts short is a short pause too.
  EXPECT_NEAR(KeptSeconds({{1.0, 0.5}, {0.08, 0}}), 1.08, kWindow);
}

TEST(TrimSilence, DropsClicks) {
  EXPECT_EQ(KeptSeconds({{0.5, 0}, {0.05, 0.9}, {0.5, 0}}), 0);
  EXPECT_NEAR(KeptSeconds({{0.5, 0}, {0.05, 0.9}, {0.5, 0}, {1.0, 0.5}}), 1.0, kWindow);
}

TEST(TrimSilence, ThresholdIsOnePercentRms) {
  // A tone's root mean square is its amplitude over the square root of 2.
  EXPECT_EQ(KeptSeconds({{1.0, 0.0138F}}), 0);
  EXPECT_NEAR(KeptSeconds({{1.0, 0.0146F}}), 1.0, kWindow);
}

TEST(TrimSilence, NothingInNothingOut) { EXPECT_TRUE(TrimSilence({}, kRate).empty()); }

TEST(NormalizePeak, BringsThePeakToTheLevel) {
  std::vector<float> samples = {0.1F, -0.25F, 0.2F};
  ASSERT_TRUE(NormalizePeak(samples, -3).ok());
  EXPECT_NEAR(samples[1], -0.70795, 1e-5);
  EXPECT_NEAR(samples[0], 0.70795 * 0.4, 1e-5);
  ASSERT_TRUE(NormalizePeak(samples, 0).ok());
  EXPECT_NEAR(samples[1], -1, 1e-6);
}

TEST(NormalizePeak, RefusesSilence) {
  std::vector<float> samples(100, 0.0F);
  EXPECT_EQ(NormalizePeak(samples, -3).code(), absl::StatusCode::kInvalidArgument);
}

// A tone below both Nyquist rates comes out as the same tone, whatever the block size; one above the new one
// is gone.
TEST(Resampler, KeepsWhatFitsAndDropsWhatDoesNot) {
  for (const int rate : {8000, 11025, 16000, 22050, 44100, 48000, 96000}) {
    for (const size_t block : {1UL, 160UL, 100000UL}) {
      auto resampler = Resampler::Create(rate, kRate);
      ASSERT_TRUE(resampler.ok()) << resampler.status();
      const std::vector<float> input = testing::Tone(1000, 0.5, rate);
      std::vector<float> output;
      for (size_t at = 0; at < input.size(); at += block) {
        const size_t count = std::min(block, input.size() - at);
        ASSERT_TRUE(resampler->Process({input.data() + at, count}, output).ok());
      }
      ASSERT_TRUE(resampler->Finish(output).ok());
      EXPECT_NEAR(static_cast<double>(output.size()), 8000, 2) << rate;
      const std::vector<float> expected = testing::Tone(1000, 0.5, kRate);
      for (size_t i = 1000; i < 7000; ++i) ASSERT_NEAR(output[i], expected[i], 2e-4) << rate << " " << i;
    }
  }
  auto resampler = Resampler::Create(48000, kRate);
  ASSERT_TRUE(resampler.ok());
  std::vector<float> output;
  ASSERT_TRUE(resampler->Process(testing::Tone(9000, 0.5, 48000), output).ok());
  ASSERT_TRUE(resampler->Finish(output).ok());
  for (size_t i = 1000; i < 7000; ++i) ASSERT_NEAR(output[i], 0, 1e-4);
}

}  // namespace
}  // namespace data
