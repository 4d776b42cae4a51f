// Crops of random length and augmentation in the loader: the same on any number of ranks, however it got
// there.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <vector>

#include "tests/data/loader_fixtures.h"

namespace data {
namespace {

constexpr int64_t kLeast = 6;
constexpr int64_t kMost = 16;

class AugmentedLoaderTest : public LoaderTest {
 protected:
  TrainLoader::Options Everything(int rank = 0, int world_size = 1, int64_t accumulate = 1) const {
    TrainLoader::Options options = Options(rank, world_size, accumulate);
    options.crop_frames = kMost;
    options.min_crop_frames = kLeast;
    options.augment.gain_db = 6;
    options.augment.noise_probability = 0.7;
    options.augment.babble_probability = 0.5;
    options.augment.babble_voices = 3;
    options.augment.time_masks = options.augment.frequency_masks = 1;
    options.augment.time_mask_frames = options.augment.frequency_mask_mels = 3;
    return options;
  }
};

TEST_F(AugmentedLoaderTest, AnyNumberOfRanksSeesTheSameGlobalBatches) {
  constexpr int64_t kBatches = 10;  // two epochs and a half
  TrainLoader alone(dataset_, MakeSampler(), Everything(), 0);
  const std::vector<Consumed> whole = Take(alone, kBatches);
  for (const auto& [ranks, accumulate] : {std::pair{2, 1}, {4, 1}, {1, 3}, {2, 3}}) {
    std::vector<std::vector<Consumed>> by_rank;
    for (int rank = 0; rank < ranks; ++rank) {
      TrainLoader loader(dataset_, MakeSampler(), Everything(rank, ranks, accumulate), 0);
      by_rank.push_back(Take(loader, kBatches * accumulate));
    }
    for (int64_t b = 0; b < kBatches; ++b) {
      const Consumed& expected = whole[static_cast<size_t>(b)];
      std::vector<int64_t> utterances;
      std::vector<float> mels;
      for (const auto& taken : by_rank) {
        for (int64_t micro = 0; micro < accumulate; ++micro) {
          const Consumed& part = taken[static_cast<size_t>(b * accumulate + micro)];
          EXPECT_EQ(part.frames, expected.frames);
          utterances.insert(utterances.end(), part.utterances.begin(), part.utterances.end());
          mels.insert(mels.end(), part.mels.begin(), part.mels.end());
        }
      }
      EXPECT_EQ(utterances, expected.utterances);
      EXPECT_TRUE(SameBits(mels, expected.mels));
    }
  }
}

TEST_F(AugmentedLoaderTest, GoesOnExactlyFromAnyBatchAtAnyDepth) {
  TrainLoader loader(dataset_, MakeSampler(), Everything(1, 2), 0);
  const std::vector<Consumed> whole = Take(loader, 10);
  for (int64_t first = 0; first < 10; ++first) {
    TrainLoader::Options options = Everything(1, 2);
    options.prefetch_batches = 1 + first;
    TrainLoader resumed(dataset_, MakeSampler(), options, first);
    const std::vector<Consumed> rest = Take(resumed, 10 - first);
    EXPECT_TRUE(std::equal(rest.begin(), rest.end(), whole.begin() + first)) << first;
  }
}

TEST_F(AugmentedLoaderTest, ChangesTheMelsAndNothingElse) {
  TrainLoader::Options plain = Everything();
  plain.augment = {};
  TrainLoader loader(dataset_, MakeSampler(), Everything(), 0), unchanged(dataset_, MakeSampler(), plain, 0);
  const std::vector<Consumed> augmented = Take(loader, 12), as_stored = Take(unchanged, 12);
  bool saw_padding = false;
  int64_t changed = 0;
  for (size_t b = 0; b < augmented.size(); ++b) {
    const Consumed &after = augmented[b], &before = as_stored[b];
    Consumed same = after;
    same.mels = before.mels;
    EXPECT_EQ(same, before);
    ASSERT_EQ(after.mels.size(), before.mels.size());
    for (size_t row = 0; row < after.utterances.size(); ++row) {
      const int64_t u = after.utterances[row], length = after.lengths[row];
      // What is stored, at the place that CropStart names for this batch's T.
      ASSERT_EQ(after.starts[row], CropStart(kSeed, after.epoch, u, source_.Frames(u), after.frames));
      const std::vector<float> all = source_.Values(u);
      const auto begin = static_cast<ptrdiff_t>(row) * after.frames * 8;
      EXPECT_TRUE(std::equal(before.mels.begin() + begin, before.mels.begin() + begin + length * 8,
                             all.begin() + after.starts[row] * 8));
      changed += !std::equal(before.mels.begin() + begin, before.mels.begin() + begin + length * 8,
                             after.mels.begin() + begin);
      saw_padding |= length < after.frames;
      EXPECT_TRUE(std::all_of(after.mels.begin() + begin + length * 8,
                              after.mels.begin() + begin + after.frames * 8,
                              [](float mel) { return mel == 0.0f; }));
    }
  }
  EXPECT_EQ(changed, 12 * 12) << "the gain changes every crop";
  EXPECT_TRUE(saw_padding);
}

TEST_F(AugmentedLoaderTest, EveryBatchHasItsOwnLengthInMemoryForTheLongest) {
  TrainLoader loader(dataset_, MakeSampler(), Everything(), 0);
  std::map<int64_t, int> counts;
  std::set<const void*> buffers;
  for (int64_t i = 0; i < 550; ++i) {
    const Batch* batch = *loader.Next();
    const int64_t frames = batch->mels.size(1);
    EXPECT_EQ(frames, CropLength(kSeed, batch->epoch, batch->batch, kLeast, kMost));
    ++counts[frames];
    buffers.insert(batch->mels.data_ptr());
    ASSERT_EQ(batch->mels.storage().nbytes(), static_cast<size_t>(12 * kMost * 8) * sizeof(float));
  }
  EXPECT_EQ(buffers.size(), 5u);
  ASSERT_EQ(counts.size(), static_cast<size_t>(kMost - kLeast + 1));
  for (const auto& [frames, count] : counts) EXPECT_NEAR(count, 50, 32) << frames;  // standard deviation 6.7
}

TEST(CropLength, IsUniformAndOfItsArgumentsAlone) {
  std::map<int64_t, int> counts;
  int changed = 0;
  for (int64_t batch = 0; batch < 11000; ++batch) {
    const int64_t frames = CropLength(kSeed, 2, batch, 64, 74);
    EXPECT_EQ(frames, CropLength(kSeed, 2, batch, 64, 74));
    changed += frames != CropLength(kSeed, 3, batch, 64, 74);
    ++counts[frames];
  }
  ASSERT_EQ(counts.size(), 11u);
  EXPECT_EQ(counts.begin()->first, 64);
  for (const auto& [frames, count] : counts) EXPECT_NEAR(count, 1000, 150);  // standard deviation 30
  EXPECT_NEAR(changed, 10000, 150);
  EXPECT_EQ(CropLength(kSeed, 0, 0, 32, 32), 32);
}

TEST_F(AugmentedLoaderTest, RefusesWhatCannotBe) {
  TrainLoader::Options options = Everything();
  options.min_crop_frames = kMost + 1;
  EXPECT_THROW(TrainLoader(dataset_, MakeSampler(), options, 0), std::invalid_argument);
  options = Everything();
  options.augment.noise_probability = 2;
  EXPECT_THROW(TrainLoader(dataset_, MakeSampler(), options, 0), std::invalid_argument);
  options = Everything();
  EXPECT_THROW(TrainLoader(dataset_, Sampler({0, 5}, kSeed, 2), options, 0), std::invalid_argument)
      << "babble of one speaker";
}

}  // namespace
}  // namespace data
