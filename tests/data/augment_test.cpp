#include "data/augment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "data/fast_math.h"
#include "data/log_mel.h"
#include "data/mel_noise.h"
#include "tests/data/dataset_fixtures.h"

namespace data {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t kSeed = 3;
constexpr int64_t kMels = 40;
const float kLogFloor = std::log(1e-9f);

TEST(FastMath, AgreesWithTheLibrary) {
  for (double x = -87; x <= 50; x += 0.00371) {
    const auto single = static_cast<float>(x);
    EXPECT_NEAR(static_cast<double>(FastExp(single)) / std::exp(static_cast<double>(single)), 1, 3e-7) << x;
    const float power = std::exp(single);
    const double log = std::log(static_cast<double>(power));
    EXPECT_NEAR(static_cast<double>(FastLog(power)), log, 3e-7 * std::max(1.0, std::abs(log))) << x;
  }
  EXPECT_GT(FastExp(-1e30f), 0);
  EXPECT_TRUE(std::isfinite(FastExp(1e30f)));
}

struct Moments {
  std::vector<double> mean, shape;  // shape of the gamma distribution with the values' mean and variance
};

Moments MomentsOf(const std::vector<double>& power, size_t n_mels) {
  const size_t frames = power.size() / n_mels;
  Moments moments;
  for (size_t m = 0; m < n_mels; ++m) {
    double sum = 0, squares = 0;
    for (size_t t = 0; t < frames; ++t) {
      sum += power[t * n_mels + m];
      squares += power[t * n_mels + m] * power[t * n_mels + m];
    }
    const double mean = sum / static_cast<double>(frames);
    moments.mean.push_back(mean);
    moments.shape.push_back(mean * mean / (squares / static_cast<double>(frames) - mean * mean));
  }
  return moments;
}

double Total(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum;
}

// White noise through the real front end, and the noise drawn here, have the same spectrum and fluctuation.
TEST(MelNoise, IsWhatTheFrontEndMakesOfWhiteNoise) {
  std::mt19937 generator(1);
  std::normal_distribution<float> gaussian(0.0f, 0.05f);
  std::vector<float> samples(16000 * 120);
  for (float& sample : samples) sample = gaussian(generator);
  std::vector<float> frames;
  const absl::StatusOr<LogMel> log_mel = LogMel::Create(kMels);
  ASSERT_TRUE(log_mel->Compute(samples, frames).ok());
  std::vector<double> power;
  for (const float value : frames) power.push_back(std::exp(static_cast<double>(value)));
  const Moments real = MomentsOf(power, kMels);

  const std::vector<NoiseBand> bands = NoiseBands(FrontEnd());
  ASSERT_EQ(bands.size(), static_cast<size_t>(kMels));
  RandomStream random(kSeed, Purpose::kFirstFree, 0, 0);
  std::vector<float> drawn(20000 * kMels);
  DrawNoise(bands, 0, &random, drawn);
  const Moments ours = MomentsOf({drawn.begin(), drawn.end()}, kMels);

  const double real_total = Total(real.mean), our_total = Total(ours.mean);
  double area = 0;
  for (const NoiseBand& band : bands) area += band.area;
  for (size_t m = 0; m < kMels; ++m) {
    EXPECT_NEAR(ours.mean[m] / our_total / (real.mean[m] / real_total), 1, 0.06) << m;
    EXPECT_NEAR(bands[m].area / area / (real.mean[m] / real_total), 1, 0.06) << m;
    EXPECT_NEAR(bands[m].shape / real.shape[m], 1, 0.15) << m;
    EXPECT_NEAR(ours.shape[m] / bands[m].shape, 1, 0.15) << m;
  }
  EXPECT_GT(bands.back().area, 5 * bands.front().area) << "bands widen with frequency";
}

TEST(MelNoise, TiltIsInDecibelsPerOctave) {
  const std::vector<NoiseBand> bands = NoiseBands(FrontEnd());
  std::vector<float> white(64 * kMels), brown(64 * kMels);
  RandomStream one(kSeed, Purpose::kFirstFree, 0, 0), same(kSeed, Purpose::kFirstFree, 0, 0);
  DrawNoise(bands, 0, &one, white);
  DrawNoise(bands, -6, &same, brown);
  for (size_t i = 0; i < white.size(); ++i) {
    const size_t m = i % kMels;
    if (white[i] > 0) {
      EXPECT_NEAR(10 * std::log10(brown[i] / white[i]), -6 * bands[m].log2_centre_kHz, 1e-3);
    }
  }
  // Centres by the definition of the HTK scale.
  const auto mel = [](double hz) { return 2595 * std::log10(1 + hz / 700); };
  const double step = (mel(8000) - mel(50)) / 41;
  for (size_t m = 0; m < kMels; ++m) {
    EXPECT_NEAR(mel(1000 * std::exp2(bands[m].log2_centre_kHz)), mel(50) + static_cast<double>(m + 1) * step,
                0.01);
  }
}

TEST(MelNoise, FiltersBetweenTwoBinsStillGetNoise) {
  FrontEnd front_end;
  front_end.n_mels = 200;
  for (const NoiseBand& band : NoiseBands(front_end)) {
    EXPECT_GT(band.area, 0);
    EXPECT_GE(band.shape, 0.99f);
  }
}

// Five speakers, each of whom sounds in one band only; utterances of 3 to 60 frames.
class AugmentTest : public ::testing::Test {
 protected:
  static constexpr int64_t kSpeakers = 5;
  static constexpr int64_t kUtterances = 30;

  void SetUp() override {
    WriterOptions options{.folder = folder_.path(), .front_end = {}, .speakers = {}};
    for (int64_t s = 0; s < kSpeakers; ++s) options.speakers.push_back("speaker " + std::to_string(s));
    auto writer = DatasetWriter::Create(options);
    ASSERT_TRUE(writer.ok()) << writer.status();
    for (int64_t u = 0; u < kUtterances; ++u) {
      std::vector<float> frames(static_cast<size_t>((3 + u * 2) * kMels), kLogFloor);
      for (size_t i = static_cast<size_t>(Speaker(u)); i < frames.size(); i += kMels) frames[i] = 0;
      ASSERT_TRUE((*writer)->Add(std::to_string(u), static_cast<int32_t>(Speaker(u)), "train", frames).ok());
      utterances_.push_back(u);
    }
    ASSERT_TRUE((*writer)->Finish().ok());
    dataset_ = OpenOrDie(folder_.path());
  }

  static int64_t Speaker(int64_t u) { return u % kSpeakers; }

  // Between the floor and 5, like the front end's values.
  static std::vector<float> Crop(int64_t frames, uint64_t seed = 1) {
    RandomStream random(seed, Purpose::kFirstFree, 0, 0);
    std::vector<float> mels(static_cast<size_t>(frames * kMels));
    for (float& mel : mels) mel = random.Uniform(-15, 5);
    return mels;
  }

  std::vector<float> Apply(const AugmentOptions& options, std::vector<float> mels, int64_t epoch = 0,
                           int64_t utterance = 0) const {
    const absl::Status check = CheckAugment(options, *dataset_, utterances_);
    EXPECT_TRUE(check.ok()) << check;
    Augmenter augmenter(options, dataset_, utterances_, kSeed);
    const absl::Status status = augmenter.Apply(epoch, utterance, mels);
    EXPECT_TRUE(status.ok()) << status;
    return mels;
  }

  static double Power(const std::vector<float>& mels) {
    double sum = 0;
    for (const float mel : mels) sum += std::exp(static_cast<double>(mel));
    return sum;
  }

  // dB of the crop over what was added to it.
  static double SnrDb(const std::vector<float>& clean, const std::vector<float>& noisy) {
    return 10 * std::log10(Power(clean) / (Power(noisy) - Power(clean)));
  }

  // Which of the bands 0 to kSpeakers - 1 have become loud in a crop that was all floor but for band kMels
  // - 1.
  static std::set<int64_t> Voices(const std::vector<float>& mels) {
    std::set<int64_t> voices;
    for (int64_t s = 0; s < kSpeakers; ++s) {
      if (mels[static_cast<size_t>(s)] > kLogFloor + 5) voices.insert(s);
    }
    return voices;
  }
  static std::vector<float> ToneInTheLastBand(int64_t frames) {
    std::vector<float> mels(static_cast<size_t>(frames * kMels), kLogFloor);
    for (size_t i = kMels - 1; i < mels.size(); i += kMels) mels[i] = 0;
    return mels;
  }

  const TemporaryFolder folder_;
  std::shared_ptr<const Dataset> dataset_;
  std::vector<int64_t> utterances_;
};

TEST_F(AugmentTest, OffChangesNothing) {
  const AugmentOptions off;
  EXPECT_FALSE(off.any());
  EXPECT_TRUE(SameBits(Apply(off, Crop(50)), Crop(50)));
  AugmentOptions never = off;  // masks without width, and the ratio and voices of additions that are not made
  never.time_masks = never.frequency_masks = 3;
  never.snr_db = {-5, 5};
  never.babble_voices = 9;
  EXPECT_FALSE(never.any());
  EXPECT_TRUE(SameBits(Apply(never, Crop(50)), Crop(50)));
}

TEST_F(AugmentTest, NoiseHasTheDrawnRatio) {
  AugmentOptions options;
  options.noise_probability = 1;
  const std::vector<float> clean = Crop(128);
  for (const double snr : {-5.0, 0.0, 12.5}) {
    options.snr_db = {snr, snr};
    const std::vector<float> noisy = Apply(options, clean);
    EXPECT_NEAR(SnrDb(clean, noisy), snr, 0.01);
    for (size_t i = 0; i < clean.size(); ++i) ASSERT_GE(noisy[i], clean[i]);
  }
  options.snr_db = {0, 20};
  double sum = 0, least = 100, most = -100;
  constexpr int kDraws = 400;
  for (int i = 0; i < kDraws; ++i) {
    const double snr = SnrDb(clean, Apply(options, clean, i));
    sum += snr;
    least = std::min(least, snr);
    most = std::max(most, snr);
  }
  EXPECT_NEAR(sum / kDraws, 10, 1.2);  // standard deviation 0.29
  EXPECT_TRUE(least > -0.01 && least < 0.5) << least;
  EXPECT_TRUE(most < 20.01 && most > 19.5) << most;
}

TEST_F(AugmentTest, EachCropGetsNoiseOrNotByItsProbability) {
  AugmentOptions options;
  options.noise_probability = 0.3;
  const std::vector<float> clean = Crop(8);
  int changed = 0;
  for (int u = 0; u < 1000; ++u) changed += Apply(options, clean, 1, u) != clean;
  EXPECT_NEAR(changed, 300, 65);  // standard deviation 14.5
}

TEST_F(AugmentTest, NoiseOfAllColours) {
  AugmentOptions options;
  options.noise_probability = 1;
  options.snr_db = {0, 0};
  // By how much the noise of each crop falls or rises from 300 Hz to 4 kHz, relative to white noise.
  const std::vector<NoiseBand> bands = NoiseBands(FrontEnd());
  constexpr size_t kLow = 4, kHigh = 28;
  const std::vector<float> clean(static_cast<size_t>(400 * kMels), -12.0f);
  double least = 100, most = -100;
  for (int i = 0; i < 100; ++i) {
    const std::vector<float> noisy = Apply(options, clean, i);
    double low = 0, high = 0;
    for (size_t t = 0; t < 400; ++t) {
      low += std::exp(static_cast<double>(noisy[t * kMels + kLow])) - std::exp(-12.0);
      high += std::exp(static_cast<double>(noisy[t * kMels + kHigh])) - std::exp(-12.0);
    }
    const double octaves = bands[kHigh].log2_centre_kHz - bands[kLow].log2_centre_kHz;
    const double tilt = 10 * std::log10(high / bands[kHigh].area / (low / bands[kLow].area)) / octaves;
    least = std::min(least, tilt);
    most = std::max(most, tilt);
  }
  EXPECT_TRUE(least > -6.3 && least < -5.5) << least;
  EXPECT_TRUE(most < 3.3 && most > 2.5) << most;
}

TEST_F(AugmentTest, BabbleIsOfOtherSpeakersAtTheDrawnRatio) {
  AugmentOptions options;
  options.babble_probability = 1;
  options.snr_db = {3, 3};
  options.babble_voices = 1;
  std::vector<int> heard(kSpeakers);
  for (int epoch = 0; epoch < 400; ++epoch) {
    // 20 frames: some of the voices are shorter and go on from their beginning.
    const std::vector<float> clean = ToneInTheLastBand(20), noisy = Apply(options, clean, epoch, 7);
    ASSERT_NEAR(SnrDb(clean, noisy), 3, 0.01);
    const std::set<int64_t> voices = Voices(noisy);
    ASSERT_EQ(voices.size(), 1u);
    ++heard[static_cast<size_t>(*voices.begin())];
    for (size_t t = 1; t < 20; ++t) {
      for (size_t m = 0; m < kMels; ++m) ASSERT_EQ(noisy[t * kMels + m], noisy[m]) << "a gap in the voice";
    }
  }
  EXPECT_EQ(heard[static_cast<size_t>(Speaker(7))], 0) << "a speaker is not noise to himself";
  for (const int64_t s : {0, 1, 3, 4}) {
    EXPECT_NEAR(heard[static_cast<size_t>(s)], 100, 40);  // standard deviation 8.7
  }
}

TEST_F(AugmentTest, BabbleOfOneToManyVoices) {
  AugmentOptions options;
  options.babble_probability = 1;
  options.babble_voices = 8;
  std::set<size_t> sizes;
  for (int epoch = 0; epoch < 100; ++epoch) {
    const std::set<int64_t> voices = Voices(Apply(options, ToneInTheLastBand(20), epoch, 7));
    EXPECT_FALSE(voices.contains(Speaker(7)));
    sizes.insert(voices.size());
  }
  EXPECT_EQ(sizes, (std::set<size_t>{1, 2, 3, 4}));
}

TEST_F(AugmentTest, NoiseAndBabbleAdd) {
  AugmentOptions options;
  options.noise_probability = options.babble_probability = 1;
  options.snr_db = {10, 10};
  const std::vector<float> clean = Crop(64);
  EXPECT_NEAR(SnrDb(clean, Apply(options, clean)), 10 - 10 * std::log10(2.0), 0.01);
}

TEST_F(AugmentTest, GainIsTheSameEverywhereAndStopsAtTheFloor) {
  AugmentOptions options;
  options.gain_db = 12;
  std::vector<float> clean = Crop(16);
  double least = 100, most = -100, sum = 0;
  for (int epoch = 0; epoch < 500; ++epoch) {
    const std::vector<float> changed = Apply(options, clean, epoch);
    const float shift = changed[0] - clean[0];
    for (size_t i = 0; i < clean.size(); ++i) ASSERT_NEAR(changed[i] - clean[i], shift, 4e-6);
    const double db = static_cast<double>(shift) * 10 / std::numbers::ln10;
    least = std::min(least, db);
    most = std::max(most, db);
    sum += db;
  }
  EXPECT_TRUE(least >= -12.001 && least < -11.5) << least;
  EXPECT_TRUE(most <= 12.001 && most > 11.5) << most;
  EXPECT_NEAR(sum / 500, 0, 1.3);  // standard deviation 0.31

  options.gain_db = 60;
  std::fill(clean.begin(), clean.end(), kLogFloor + 2);
  int at_floor = 0;
  for (int epoch = 0; epoch < 50; ++epoch) {
    const std::vector<float> changed = Apply(options, clean, epoch);
    for (const float mel : changed) ASSERT_GE(mel, kLogFloor);
    at_floor += changed[0] == kLogFloor;
  }
  EXPECT_GT(at_floor, 10);
}

// The rows (or columns) that a mask has filled, which are whole or untouched.
std::vector<bool> Filled(const std::vector<float>& before, const std::vector<float>& after, bool rows,
                         float fill) {
  const size_t frames = before.size() / kMels, count = rows ? frames : kMels;
  std::vector<bool> filled(count);
  for (size_t i = 0; i < count; ++i) filled[i] = after[rows ? i * kMels : i] == fill;
  for (size_t i = 0; i < before.size(); ++i) {
    const bool is_filled = filled[rows ? i / kMels : i % kMels];
    EXPECT_EQ(after[i], is_filled ? fill : before[i]);
  }
  return filled;
}

class Masks : public AugmentTest, public ::testing::WithParamInterface<bool> {
 protected:
  static AugmentOptions Options(int64_t count, int64_t width) {
    AugmentOptions options;
    (GetParam() ? options.time_masks : options.frequency_masks) = count;
    (GetParam() ? options.time_mask_frames : options.frequency_mask_mels) = width;
    return options;
  }
};
INSTANTIATE_TEST_SUITE_P(OfTimeAndFrequency, Masks, ::testing::Bool());

TEST_P(Masks, HaveUniformWidthsAndTheMeanInThem) {
  const std::vector<float> clean = Crop(100);
  double mean = 0;
  for (const float mel : clean) mean += static_cast<double>(mel) / static_cast<double>(clean.size());
  std::vector<int> widths(11), first_place(101);
  std::vector<bool> reached(GetParam() ? 100 : kMels);
  for (int epoch = 0; epoch < 1100; ++epoch) {
    const std::vector<float> masked = Apply(Options(1, 10), clean, epoch);
    float fill = 0;
    for (size_t i = 0; i < clean.size(); ++i) {
      if (masked[i] != clean[i]) fill = masked[i];
    }
    const std::vector<bool> filled = Filled(clean, masked, GetParam(), fill);
    const auto begin = std::find(filled.begin(), filled.end(), true);
    const auto end = std::find(begin, filled.end(), false);
    ASSERT_EQ(std::find(end, filled.end(), true), filled.end()) << "one mask is one piece";
    ASSERT_LE(end - begin, 10);
    if (begin != end) {
      EXPECT_NEAR(fill, mean, 1e-4);
    }
    ++widths[static_cast<size_t>(end - begin)];
    for (size_t i = 0; i < filled.size(); ++i) reached[i] = reached[i] || filled[i];
  }
  for (const int count : widths) EXPECT_NEAR(count, 100, 45);  // standard deviation 9.5
  EXPECT_EQ(std::count(reached.begin(), reached.end(), false), 0);
}

TEST_P(Masks, CoverAtMostHalf) {
  for (const int64_t frames : {1, 2, 3, 17, 64}) {
    const std::vector<float> clean = Crop(frames);
    const auto size = static_cast<ptrdiff_t>(GetParam() ? frames : kMels);
    ptrdiff_t most = 0;
    for (int epoch = 0; epoch < 100; ++epoch) {
      const std::vector<float> masked = Apply(Options(20, 1000), clean, epoch);
      float fill = 0;
      for (size_t i = 0; i < clean.size(); ++i) {
        if (masked[i] != clean[i]) fill = masked[i];
      }
      const std::vector<bool> filled = Filled(clean, masked, GetParam(), fill);
      most = std::max<ptrdiff_t>(most, std::count(filled.begin(), filled.end(), true));
    }
    EXPECT_LE(most, size / 2) << frames;
    EXPECT_GE(most, size / 3) << frames;
  }
}

TEST_F(AugmentTest, IsAFunctionOfSeedEpochAndUtterance) {
  AugmentOptions options;
  options.gain_db = 6;
  options.noise_probability = options.babble_probability = 0.5;
  options.time_masks = options.frequency_masks = 2;
  options.time_mask_frames = options.frequency_mask_mels = 8;
  Augmenter once(options, dataset_, utterances_, kSeed), again(options, dataset_, utterances_, kSeed),
      otherwise(options, dataset_, utterances_, kSeed + 1);
  std::vector<std::vector<float>> results;
  const auto apply = [](Augmenter& augmenter, int64_t epoch, int64_t utterance) {
    std::vector<float> mels = Crop(10 + utterance);
    EXPECT_TRUE(augmenter.Apply(epoch, utterance, mels).ok());
    return mels;
  };
  for (int64_t u = 0; u < kUtterances; ++u) results.push_back(apply(once, 2, u));
  for (int64_t u = kUtterances - 1; u >= 0; --u) {
    const std::vector<float>& result = results[static_cast<size_t>(u)];
    EXPECT_TRUE(SameBits(apply(again, 2, u), result));
    EXPECT_NE(apply(again, 3, u), result);
    EXPECT_NE(apply(otherwise, 2, u), result);
  }
}

TEST_F(AugmentTest, AbsurdDataStaysFinite) {
  AugmentOptions options;
  options.noise_probability = options.babble_probability = 1;
  options.gain_db = 6;
  for (const float value : {-65504.0f, -100.0f, 100.0f, 65504.0f, 1e30f}) {
    for (const double snr : {-100.0, 100.0}) {
      options.snr_db = {snr, snr};
      for (const float mel : Apply(options, std::vector<float>(10 * kMels, value))) {
        ASSERT_TRUE(std::isfinite(mel)) << value;
      }
    }
  }
}

TEST_F(AugmentTest, ChecksItsOptions) {
  const auto expect = [&](const std::string& message, const std::vector<int64_t>& utterances,
                          auto... changes) {
    AugmentOptions options;
    (changes(options), ...);
    const absl::Status status = CheckAugment(options, *dataset_, utterances);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(message));
  };
  const auto nan = std::numeric_limits<double>::quiet_NaN();
  using O = AugmentOptions;
  expect("gain of -1", utterances_, [](O& o) { o.gain_db = -1; });
  expect("gain of nan", utterances_, [&](O& o) { o.gain_db = nan; });
  expect("probability of 1.5", utterances_, [](O& o) { o.noise_probability = 1.5; });
  expect("probability of -1", utterances_, [](O& o) { o.babble_probability = -1; });
  expect("from 5 to 4 dB", utterances_, [](O& o) { o.snr_db = {5, 4}; });
  expect("from nan to 4 dB", utterances_, [&](O& o) { o.snr_db = {nan, 4}; });
  expect("masks", utterances_, [](O& o) { o.time_masks = -1; });
  expect("masks", utterances_, [](O& o) { o.frequency_mask_mels = -1; });
  expect(
      "0 voices", utterances_, [](O& o) { o.babble_probability = 0.1; }, [](O& o) { o.babble_voices = 0; });
  expect("two speakers", {3, 8, 13}, [](O& o) { o.babble_probability = 0.1; });
}

}  // namespace
}  // namespace data
