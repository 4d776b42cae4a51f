#include "data/log_mel.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <thread>
#include <vector>

#include "audio_fixtures.h"
#include "data/front_end.h"

namespace data {
namespace {

using ::testing::HasSubstr;

double HzToMel(double hz) { return 2595 * std::log10(1 + hz / 700); }
double CentreHz(int filter, int n_mels) {
  const double low = HzToMel(kMelLowHz);
  const double step = (HzToMel(kMelHighHz) - low) / (n_mels + 1);
  return 700 * (std::pow(10, (low + step * (filter + 1)) / 2595) - 1);
}

std::vector<float> LogMels(const std::vector<float>& samples, int n_mels = 40) {
  const auto log_mel = LogMel::Create(n_mels);
  EXPECT_TRUE(log_mel.ok()) << log_mel.status();
  std::vector<float> frames;
  const absl::Status status = log_mel->Compute(samples, frames);
  EXPECT_TRUE(status.ok()) << status;
  return frames;
}

TEST(LogMel, OneFrameEachHopWithBothEnds) {
  for (const int64_t samples : {201, 319, 320, 321, 16000, 16159, 16160, 100000}) {
    const auto frames = LogMels(testing::Noise(static_cast<double>(samples) / 16000, 16000, 1));
    EXPECT_EQ(frames.size(), static_cast<size_t>((1 + samples / 160) * 40)) << samples;
  }
}

TEST(LogMel, ToneLandsInItsFilter) {
  for (const int n_mels : {20, 40, 80}) {
    for (int filter = 3; filter < n_mels; filter += 5) {
      const auto frames = LogMels(testing::Tone(CentreHz(filter, n_mels), 0.5, 16000), n_mels);
      const auto* middle = frames.data() + 25 * n_mels;
      // Low filters are narrower than the bins: there the neighbour may win.
      EXPECT_NEAR(std::max_element(middle, middle + n_mels) - middle, filter,
                  n_mels == 80 && filter < 15 ? 1 : 0)
          << n_mels;
    }
  }
}

// A tone of amplitude a on a bin's frequency has the power (a * sum(window) / 2)^2 there, and a quarter of it
// in either neighbour. 1000 Hz is bin 25.
TEST(LogMel, PowerOfAToneInClosedForm) {
  const auto frames = LogMels(testing::Tone(1000, 0.5, 16000, 0.5F));
  const double peak = std::pow(0.5 * 200 / 2, 2);
  for (int filter = 10; filter < 18; ++filter) {
    double expected = 0;
    for (const int bin : {24, 25, 26}) {
      const double left = CentreHz(filter - 1, 40), centre = CentreHz(filter, 40),
                   right = CentreHz(filter + 1, 40);
      const double hz = bin * 40.0;
      const double weight =
          std::max(0.0, std::min((hz - left) / (centre - left), (right - hz) / (right - centre)));
      expected += weight * peak * (bin == 25 ? 1 : 0.25);
    }
    if (expected < 1) continue;  // what leaks there is of another size
    EXPECT_NEAR(frames[25 * 40 + static_cast<size_t>(filter)], std::log(expected), 1e-3) << filter;
  }
}

TEST(LogMel, SilenceIsTheFloor) {
  const auto frames = LogMels(std::vector<float>(4000, 0.0F));
  for (const float value : frames) EXPECT_FLOAT_EQ(value, std::log(1e-9F));
}

// Frames are transformed in chunks; a frame must not know in which one it is.
TEST(LogMel, LongSignalsEqualTheirParts) {
  const std::vector<float> samples = testing::Noise(14, 16000, 7);
  const auto whole = LogMels(samples);
  for (const size_t first : {200, 500, 505, 511, 1000}) {  // frames; those within the part see no edge
    const std::vector<float> part(samples.begin() + static_cast<ptrdiff_t>(first * 160),
                                  samples.begin() + static_cast<ptrdiff_t>((first + 20) * 160));
    const auto frames = LogMels(part);
    for (size_t i = 2 * 40; i < 18 * 40; ++i) EXPECT_NEAR(frames[i], whole[first * 40 + i], 2e-5);
  }
}

TEST(LogMel, ServesManyThreads) {
  const auto log_mel = LogMel::Create(40);
  ASSERT_TRUE(log_mel.ok());
  const std::vector<float> samples = testing::Noise(3, 16000, 9);
  std::vector<std::vector<float>> results(8);
  {
    std::vector<std::jthread> threads;
    for (auto& result : results) {
      threads.emplace_back([&] { ASSERT_TRUE(log_mel->Compute(samples, result).ok()); });
    }
  }
  for (const auto& result : results) EXPECT_EQ(result, results[0]);
}

TEST(LogMel, RefusesWhatReflectionCannotPad) {
  const auto log_mel = LogMel::Create(40);
  ASSERT_TRUE(log_mel.ok());
  std::vector<float> frames;
  for (const size_t size : {0, 1, 199, 200}) {
    const absl::Status status = log_mel->Compute(std::vector<float>(size), frames);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr("at least 201"));
  }
}

TEST(LogMel, RefusesFiltersThatWouldStayEmpty) {
  for (const int n_mels : {-1, 0, 202, 1 << 30}) EXPECT_FALSE(LogMel::Create(n_mels).ok()) << n_mels;
  EXPECT_TRUE(LogMel::Create(80).ok());
  const auto too_many = LogMel::Create(128);
  ASSERT_FALSE(too_many.ok());
  EXPECT_THAT(std::string(too_many.status().message()), HasSubstr("always be empty"));
}

// FrontEnd's defaults describe HW4's features; these constants make them.
TEST(LogMel, AgreesWithTheRecordedFrontEnd) {
  const FrontEnd front_end;
  EXPECT_EQ(front_end.sample_rate, kMelSampleRate);
  EXPECT_EQ(front_end.n_fft, kMelFftSize);
  EXPECT_EQ(front_end.hop, kMelHop);
  EXPECT_EQ(front_end.f_min, kMelLowHz);
  EXPECT_EQ(front_end.f_max, kMelHighHz);
  EXPECT_FLOAT_EQ(static_cast<float>(front_end.floor), kMelFloor);
}

}  // namespace
}  // namespace data
