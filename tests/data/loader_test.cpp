#include "data/loader.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <map>
#include <set>
#include <thread>

#include "data/evaluation_loader.h"
#include "tests/data/loader_fixtures.h"

namespace data {
namespace {

std::vector<int64_t> Numbers(int64_t count) {
  std::vector<int64_t> numbers(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) numbers[static_cast<size_t>(i)] = 1000 + i;
  return numbers;
}

TEST(Sampler, EveryEpochIsAPermutationCutToWholeBatches) {
  const Sampler sampler(Numbers(103), kSeed, 10);
  ASSERT_EQ(sampler.batches_per_epoch(), 10);
  std::set<int64_t> dropped;
  for (int64_t epoch = 0; epoch < 20; ++epoch) {
    const std::vector<int64_t> order = sampler.Order(epoch);
    ASSERT_EQ(order.size(), 100u);
    const std::set<int64_t> unique(order.begin(), order.end());
    EXPECT_EQ(unique.size(), 100u);
    EXPECT_GE(*unique.begin(), 1000);
    EXPECT_LT(*unique.rbegin(), 1103);
    for (const int64_t u : Numbers(103)) {
      if (unique.count(u) == 0) dropped.insert(u);
    }
    EXPECT_EQ(order, sampler.Order(epoch));
    EXPECT_NE(order, sampler.Order(epoch + 1));
    EXPECT_NE(order, Sampler(Numbers(103), kSeed + 1, 10).Order(epoch));
  }
  EXPECT_GT(dropped.size(), 20u) << "the tail that is dropped must not be the same every epoch";
}

TEST(Sampler, EveryPlaceIsEquallyLikely) {
  const Sampler sampler(Numbers(5), kSeed, 5);
  std::map<std::pair<size_t, int64_t>, int> counts;
  for (int64_t epoch = 0; epoch < 5000; ++epoch) {
    const auto order = sampler.Order(epoch);
    for (size_t i = 0; i < 5; ++i) ++counts[{i, order[i]}];
  }
  ASSERT_EQ(counts.size(), 25u);
  // Standard deviation of a count: 28.
  for (const auto& [place, count] : counts) EXPECT_NEAR(count, 1000, 150);
}

TEST(Sampler, RefusesABatchLargerThanTheSplit) {
  EXPECT_THROW(Sampler(Numbers(9), kSeed, 10), std::invalid_argument);
  EXPECT_THROW(Sampler(Numbers(9), kSeed, 0), std::invalid_argument);
}

TEST(Slice, PartitionsEveryGlobalBatch) {
  const Sampler sampler(Numbers(100), kSeed, 24);
  const auto order = sampler.Order(3);
  for (const auto& [ranks, accumulate] : {std::pair{1, 1}, {2, 1}, {4, 1}, {2, 3}, {4, 6}}) {
    for (int64_t batch = 0; batch < sampler.batches_per_epoch(); ++batch) {
      std::vector<int64_t> joined;
      for (int rank = 0; rank < ranks; ++rank) {
        for (int64_t micro = 0; micro < accumulate; ++micro) {
          const auto part = Slice(order, 24, batch, rank, ranks, accumulate, micro);
          joined.insert(joined.end(), part.begin(), part.end());
        }
      }
      EXPECT_TRUE(std::equal(joined.begin(), joined.end(), order.begin() + batch * 24,
                             order.begin() + (batch + 1) * 24));
    }
  }
}

TEST(CropStart, IsUniformAndOfItsArgumentsAlone) {
  std::vector<int> counts(11);
  for (int64_t u = 0; u < 22000; ++u) {
    const int64_t start = CropStart(kSeed, 4, u, 42, 32);
    ASSERT_GE(start, 0);
    ASSERT_LE(start, 10);
    EXPECT_EQ(start, CropStart(kSeed, 4, u, 42, 32));
    ++counts[static_cast<size_t>(start)];
  }
  // Standard deviation of a count: 43.
  for (const int count : counts) EXPECT_NEAR(count, 2000, 220);
  EXPECT_EQ(CropStart(kSeed, 4, 1, 32, 32), 0);
  EXPECT_EQ(CropStart(kSeed, 4, 1, 5, 32), 0);
  int changed = 0;
  for (int64_t u = 0; u < 100; ++u)
    changed += CropStart(kSeed, 4, u, 5000, 32) != CropStart(kSeed, 5, u, 5000, 32);
  EXPECT_GT(changed, 95);
}

TEST_F(LoaderTest, BatchesEqualDirectReadsAndShortOnesArePadded) {
  TrainLoader loader(dataset_, MakeSampler(), Options(), 0);
  bool saw_padding = false, saw_crop = false;
  for (const Consumed& batch : Take(loader, 12)) {
    bool padded = false;
    for (size_t row = 0; row < batch.utterances.size(); ++row) {
      const int64_t u = batch.utterances[row];
      const std::vector<float> all = source_.Values(u);
      const int64_t frames = source_.Frames(u), length = std::min<int64_t>(frames, 16);
      const int64_t start = CropStart(kSeed, batch.epoch, u, frames, 16);
      EXPECT_EQ(batch.lengths[row], length);
      EXPECT_EQ(batch.starts[row], start);
      EXPECT_EQ(batch.speakers[row], source_.Speaker(u));
      std::vector<float> expected(16 * 8, 0.0f);
      std::copy_n(all.begin() + start * 8, length * 8, expected.begin());
      EXPECT_TRUE(
          std::equal(expected.begin(), expected.end(), batch.mels.begin() + static_cast<int64_t>(row) * 128));
      padded |= length < 16;
      saw_crop |= start > 0;
    }
    EXPECT_EQ(batch.padded, padded);
    saw_padding |= padded;
  }
  EXPECT_TRUE(saw_padding && saw_crop);
}

TEST_F(LoaderTest, AnyNumberOfRanksSeesTheSameGlobalBatches) {
  constexpr int64_t kBatches = 10;  // two epochs and a half
  ASSERT_EQ(MakeSampler().batches_per_epoch(), 4);
  TrainLoader alone(dataset_, MakeSampler(), Options(), 0);
  const std::vector<Consumed> whole = Take(alone, kBatches);
  for (const auto& [ranks, accumulate] : {std::pair{2, 1}, {4, 1}, {1, 3}, {2, 3}}) {
    std::vector<std::vector<Consumed>> by_rank;
    for (int rank = 0; rank < ranks; ++rank) {
      TrainLoader loader(dataset_, MakeSampler(), Options(rank, ranks, accumulate), 0);
      by_rank.push_back(Take(loader, kBatches * accumulate));
    }
    for (int64_t b = 0; b < kBatches; ++b) {
      std::vector<int64_t> utterances;
      std::vector<float> mels;
      for (const auto& taken : by_rank) {
        for (int64_t micro = 0; micro < accumulate; ++micro) {
          const Consumed& part = taken[static_cast<size_t>(b * accumulate + micro)];
          EXPECT_EQ(part.epoch, b / 4);
          EXPECT_EQ(part.batch, b % 4);
          utterances.insert(utterances.end(), part.utterances.begin(), part.utterances.end());
          mels.insert(mels.end(), part.mels.begin(), part.mels.end());
        }
      }
      EXPECT_EQ(utterances, whole[static_cast<size_t>(b)].utterances);
      EXPECT_EQ(mels, whole[static_cast<size_t>(b)].mels);
    }
  }
}

TEST_F(LoaderTest, NoUtteranceTwiceInAnEpoch) {
  TrainLoader loader(dataset_, MakeSampler(), Options(), 0);
  for (int epoch = 0; epoch < 3; ++epoch) {
    std::set<int64_t> seen;
    for (const Consumed& batch : Take(loader, 4))
      seen.insert(batch.utterances.begin(), batch.utterances.end());
    EXPECT_EQ(seen.size(), 48u);
  }
}

TEST_F(LoaderTest, GoesOnExactlyFromAnyBatchOnAnyNumberOfRanks) {
  TrainLoader loader(dataset_, MakeSampler(), Options(1, 2), 0);
  const std::vector<Consumed> whole = Take(loader, 10);
  for (int64_t first = 0; first < 10; ++first) {
    TrainLoader resumed(dataset_, MakeSampler(), Options(1, 2), first);
    const std::vector<Consumed> rest = Take(resumed, 10 - first);
    EXPECT_TRUE(std::equal(rest.begin(), rest.end(), whole.begin() + first)) << first;
  }
}

TEST_F(LoaderTest, MemoryIsBoundedByThePrefetchDepth) {
  for (const int64_t depth : {1, 3, 7}) {
    TrainLoader::Options options = Options();
    options.prefetch_batches = depth;
    TrainLoader loader(dataset_, MakeSampler(), options, 0);
    std::set<const void*> buffers;
    for (int i = 0; i < 100; ++i) {
      const Batch* batch = *loader.Next();
      buffers.insert(batch->mels.data_ptr());
    }
    EXPECT_EQ(buffers.size(), static_cast<size_t>(depth + 1));
  }
}

TEST_F(LoaderTest, ABatchStaysUntilTheNextCall) {
  TrainLoader::Options options = Options();
  options.prefetch_batches = 1;
  TrainLoader loader(dataset_, MakeSampler(), options, 0);
  for (int i = 0; i < 30; ++i) {
    const Batch* batch = *loader.Next();
    const Consumed before = Copy(*batch);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));  // time for the prefetch thread to do harm
    ASSERT_EQ(Copy(*batch), before);
  }
}

TEST_F(LoaderTest, SpeakersBecomeClasses) {
  TrainLoader::Options options = Options();
  options.class_of_speaker = {40, 30, 20, 10, 0};
  TrainLoader loader(dataset_, MakeSampler(), options, 0);
  for (const Consumed& batch : Take(loader, 4)) {
    for (size_t row = 0; row < batch.utterances.size(); ++row) {
      EXPECT_EQ(batch.speakers[row], 40 - 10 * source_.Speaker(batch.utterances[row]));
    }
  }
}

TEST_F(LoaderTest, RefusesWhatCannotBe) {
  EXPECT_THROW(TrainLoader(dataset_, MakeSampler(), Options(0, 5), 0), std::invalid_argument) << "12 by 5";
  EXPECT_THROW(TrainLoader(dataset_, MakeSampler(), Options(0, 2, 4), 0), std::invalid_argument)
      << "12 by 2 x 4";
  EXPECT_THROW(TrainLoader(dataset_, MakeSampler(), Options(2, 2), 0), std::invalid_argument);
  EXPECT_THROW(TrainLoader(dataset_, Sampler({0, 6}, kSeed, 2), Options(), 0), std::invalid_argument)
      << "unlabelled";
  EXPECT_THROW(TrainLoader(dataset_, Sampler({0, 61}, kSeed, 2), Options(), 0), std::invalid_argument);
  TrainLoader::Options options = Options();
  options.class_of_speaker = {0, 1, 2, 3, -1};
  EXPECT_THROW(TrainLoader(dataset_, MakeSampler(), options, 0), std::invalid_argument)
      << "a speaker without class";
}

std::map<int64_t, Consumed> TakeAll(EvaluationLoader& loader) {
  std::map<int64_t, Consumed> taken;
  while (true) {
    const auto batch = loader.Next();
    if (!batch.ok()) throw std::runtime_error(std::string(batch.status().message()));
    if (*batch == nullptr) return taken;
    const bool fresh = taken.emplace((*batch)->batch, Copy(**batch)).second;
    EXPECT_TRUE(fresh);
  }
}

TEST_F(LoaderTest, EvaluationSeesEveryUtteranceOnceWithTheSameCompanions) {
  std::vector<int64_t> all = labelled_;
  all.push_back(6);  // unlabelled
  EvaluationLoader::Options options;
  options.frame_budget = 100;
  EvaluationLoader alone(dataset_, all, options);
  const std::map<int64_t, Consumed> whole = TakeAll(alone);
  EXPECT_EQ(static_cast<int64_t>(whole.size()), alone.total_batches());
  std::multiset<int64_t> seen;
  for (const auto& [number, batch] : whole) {
    const size_t rows = batch.utterances.size(), frames = batch.mels.size() / rows / 8;
    EXPECT_LE(rows * frames, 100u);
    for (size_t row = 0; row < rows; ++row) {
      const int64_t u = batch.utterances[row];
      seen.insert(u);
      std::vector<float> expected = source_.Values(u);
      EXPECT_EQ(batch.lengths[row], source_.Frames(u));
      EXPECT_EQ(batch.speakers[row], source_.Speaker(u));
      expected.resize(frames * 8, 0.0f);
      EXPECT_TRUE(std::equal(expected.begin(), expected.end(),
                             batch.mels.begin() + static_cast<int64_t>(row * frames * 8)));
    }
  }
  EXPECT_EQ(seen, std::multiset<int64_t>(all.begin(), all.end()));
  EXPECT_GT(whole.size(), 4u);

  for (const int ranks : {2, 3, 4}) {
    std::map<int64_t, Consumed> joined;
    for (int rank = 0; rank < ranks; ++rank) {
      options.rank = rank;
      options.world_size = ranks;
      EvaluationLoader loader(dataset_, all, options);
      joined.merge(TakeAll(loader));
    }
    EXPECT_EQ(joined, whole) << ranks;
  }
}

TEST_F(LoaderTest, EvaluationCropsTheBeginning) {
  EvaluationLoader::Options options;
  options.crop_frames = 10;
  EvaluationLoader loader(dataset_, labelled_, options);
  for (const auto& [number, batch] : TakeAll(loader)) {
    for (size_t row = 0; row < batch.utterances.size(); ++row) {
      EXPECT_EQ(batch.lengths[row], std::min<int64_t>(10, source_.Frames(batch.utterances[row])));
      EXPECT_EQ(batch.mels[row * 80], source_.Values(batch.utterances[row])[0]);
    }
  }
}

TEST_F(LoaderTest, EvaluationTakesAnUtteranceBeyondTheBudgetAlone) {
  EvaluationLoader::Options options;
  options.frame_budget = 1;
  EvaluationLoader loader(dataset_, labelled_, options);
  EXPECT_EQ(TakeAll(loader).size(), labelled_.size());
  EvaluationLoader none(dataset_, {}, options);
  EXPECT_EQ(*none.Next(), nullptr);
}

TEST_F(LoaderTest, DamageReachesTheConsumerAndStays) {
  const Manifest& manifest = dataset_->manifest();
  std::string bytes = ReadBytes(folder_.path("shard-00000.h5"));
  const uint32_t nan = 0x7FC00000;
  for (int64_t frame = 0; frame < manifest.frames(); ++frame) {
    std::memcpy(bytes.data() + manifest.shards[0].frames_offset + frame * 32, &nan, 4);
  }
  WriteBytes(folder_.path("shard-00000.h5"), bytes);
  TrainLoader loader(dataset_, MakeSampler(), Options(), 0);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(absl::IsDataLoss(loader.Next().status()));
}

}  // namespace
}  // namespace data
