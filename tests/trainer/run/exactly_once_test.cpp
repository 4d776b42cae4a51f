// A run that goes on with another number of ranks in the middle of an epoch sees each utterance exactly once
// an epoch, cut where a single rank would have cut it.
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "data/dataset.h"
#include "data/dataset_writer.h"
#include "data/loader.h"
#include "data/sampler.h"

namespace {

namespace fs = std::filesystem;

constexpr uint64_t kSeed = 5;
constexpr int64_t kUtterances = 83, kGlobalBatch = 8, kBatchesPerEpoch = 10, kCropFrames = 12;
constexpr int kMels = 3;

// Some shorter than the crop, some longer.
int64_t FramesOf(int64_t utterance) { return 5 + utterance % 20; }

// Utterance and first frame.
using Crop = std::pair<int64_t, int64_t>;

class ExactlyOnceTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "exactly-once-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
    data::WriterOptions options;
    options.folder = (folder_ / "data").string();
    options.front_end.n_mels = kMels;
    options.speakers = {"ann", "bob"};
    auto writer = data::DatasetWriter::Create(std::move(options));
    ASSERT_TRUE(writer.ok()) << writer.status();
    for (int64_t u = 0; u < kUtterances; ++u) {
      // Each frame says which one it is.
      std::vector<float> frames;
      for (int64_t t = 0; t < FramesOf(u); ++t)
        frames.insert(frames.end(), kMels, static_cast<float>(100 * u + t));
      const auto added =
          (*writer)->Add("u" + std::to_string(u), static_cast<int32_t>(u % 2), "train", frames);
      ASSERT_TRUE(added.ok()) << added;
    }
    ASSERT_TRUE((*writer)->Finish().ok());
    auto dataset = data::Dataset::Open((folder_ / "data").string());
    ASSERT_TRUE(dataset.ok()) << dataset.status();
    dataset_ = *dataset;
  }
  void TearDown() override { fs::remove_all(folder_); }

  // What `ranks` ranks together train on in the global batches [first, end), in the order of ranks and
  // micro-batches.
  std::vector<std::vector<Crop>> Consume(int ranks, int64_t accumulate, int64_t first, int64_t end) {
    std::vector<std::vector<Crop>> batches(static_cast<size_t>(end - first));
    for (int rank = 0; rank < ranks; ++rank) {
      data::TrainLoader::Options options;
      options.crop_frames = kCropFrames;
      options.rank = rank;
      options.world_size = ranks;
      options.accumulate = accumulate;
      options.seed = kSeed;
      data::TrainLoader loader(dataset_, data::Sampler(*dataset_->Split("train"), kSeed, kGlobalBatch),
                               options, first);
      for (auto& crops : batches) {
        for (int64_t micro = 0; micro < accumulate; ++micro) {
          const auto batch = loader.Next();
          EXPECT_TRUE(batch.ok()) << batch.status();
          EXPECT_EQ((*batch)->mels.size(0), kGlobalBatch / ranks / accumulate);
          for (size_t row = 0; row < (*batch)->utterances.size(); ++row) {
            const int64_t utterance = (*batch)->utterances[row], start = (*batch)->starts[row];
            EXPECT_EQ((*batch)->mels[static_cast<int64_t>(row)][0][0].item<float>(), 100 * utterance + start)
                << "the batch holds another crop than it says";
            crops.emplace_back(utterance, start);
          }
        }
      }
    }
    return batches;
  }

  fs::path folder_;
  std::shared_ptr<const data::Dataset> dataset_;
};

TEST_F(ExactlyOnceTest, OverARunThatChangesItsRanksMidEpoch) {
  std::vector<std::vector<Crop>> batches;
  for (const auto& [ranks, accumulate, first, end] : std::vector<std::tuple<int, int64_t, int64_t, int64_t>>{
           {1, 1, 0, 4}, {2, 1, 4, 13}, {4, 2, 13, 27}, {1, 2, 27, 30}}) {
    const auto part = Consume(ranks, accumulate, first, end);
    batches.insert(batches.end(), part.begin(), part.end());
  }
  ASSERT_EQ(batches.size(), static_cast<size_t>(3 * kBatchesPerEpoch));

  std::set<std::vector<Crop>> epochs;
  for (int64_t epoch = 0; epoch < 3; ++epoch) {
    std::set<int64_t> seen;
    std::vector<Crop> order;
    for (int64_t b = epoch * kBatchesPerEpoch; b < (epoch + 1) * kBatchesPerEpoch; ++b) {
      for (const Crop& crop : batches[static_cast<size_t>(b)]) {
        EXPECT_TRUE(seen.insert(crop.first).second)
            << "utterance " << crop.first << " twice in epoch " << epoch;
        order.push_back(crop);
      }
    }
    // All but the tail, which fills no batch.
    EXPECT_EQ(seen.size(), static_cast<size_t>(kBatchesPerEpoch * kGlobalBatch));
    epochs.insert(order);
  }
  EXPECT_EQ(epochs.size(), 3U) << "epochs repeat each other";
  EXPECT_EQ(batches, Consume(1, 1, 0, 3 * kBatchesPerEpoch));
}

}  // namespace
