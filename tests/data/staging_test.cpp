#include "data/staging.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "data/manifest.h"
#include "tests/data/dataset_fixtures.h"

namespace data {
namespace {

namespace fs = std::filesystem;

class StagingTest : public ::testing::Test {
 protected:
  StagingTest() { SeveralShards().Write(options_.source); }

  StagingNeed Need() const {
    const auto need = MeasureStaging(options_);
    EXPECT_TRUE(need.ok()) << need.status();
    return need.value_or(StagingNeed());
  }

  TemporaryFolder folder_;
  StagingOptions options_{.source = folder_.path("data"),
                          .folder = folder_.path("stage"),
                          .splits = {"train", "valid"},
                          .stop_requested = {},
                          .progress = {},
                          .waiting = {}};
};

TEST_F(StagingTest, WhatIsMissingIsWhatWillBeCopied) {
  const auto before = Need();
  EXPECT_GT(before.bytes, 0);
  EXPECT_EQ(before.missing_bytes, before.bytes);
  EXPECT_FALSE(fs::exists(options_.folder));

  int64_t calls = 0, last = 0, total = 0;
  options_.progress = [&](int64_t done, int64_t of) {
    EXPECT_GE(done, last);
    ++calls, last = done, total = of;
  };
  const auto staged = StageDataset(options_);
  ASSERT_TRUE(staged.ok()) << staged.status();
  EXPECT_EQ(staged->folder, before.folder);
  EXPECT_EQ(staged->copied_bytes, before.missing_bytes);
  EXPECT_GT(calls, 1);
  EXPECT_EQ(last, total);
  EXPECT_EQ(total, 2 * before.bytes);  // written, and read back
  EXPECT_EQ(Need().missing_bytes, 0);

  const std::string shard = (fs::path(before.folder) / ShardName(0)).string();
  const auto size = static_cast<int64_t>(fs::file_size(shard));
  fs::resize_file(shard, 10);
  EXPECT_EQ(Need().missing_bytes, size);
}

TEST_F(StagingTest, OtherDataSetsFilesDoNotCount) {
  fs::create_directories(options_.folder);
  WriteBytes(options_.folder + "/" + ShardName(0), std::string(1 << 20, 'x'));
  const auto need = Need();
  EXPECT_EQ(need.missing_bytes, need.bytes);
}

TEST_F(StagingTest, OnlyWhatTheSplitsNeedCounts) {
  const auto all = Need();
  options_.splits = {"no such split"};
  EXPECT_EQ(Need().bytes, 0);
  EXPECT_EQ(Need().folder, all.folder);
}

}  // namespace
}  // namespace data
