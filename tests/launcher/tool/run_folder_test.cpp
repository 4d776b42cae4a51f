#include "launcher/tool/run_folder.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace launcher::tool {
namespace {

namespace fs = std::filesystem;

class RunFolderTest : public ::testing::Test {
 protected:
  RunFolderTest() {
    std::string name = (fs::temp_directory_path() / "run-folder-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~RunFolderTest() override { fs::remove_all(path_); }

  void Append(const std::string& file, const std::string& text) {
    fs::create_directories((path_ / file).parent_path());
    std::ofstream(path_ / file, std::ios::app) << text;
  }
  void Start(int from_step) { Append("starts.jsonl", "{\"from_step\":" + std::to_string(from_step) + "}\n"); }
  void Step(int step) { Append("metrics.jsonl", "{\"step\":" + std::to_string(step) + ",\"loss\":1}\n"); }

  fs::path path_;
};

TEST_F(RunFolderTest, NothingIsNoProgress) {
  RunFolder run((path_ / "not there").string());
  run.MarkStart();
  EXPECT_FALSE(run.SinceMark().ranks_are_up);
  EXPECT_FALSE(run.SinceMark().made_step());
  EXPECT_EQ(run.NewestCheckpoint(), 0);
}

TEST_F(RunFolderTest, WhatAnEarlierStartDidDoesNotCount) {
  Start(0);
  Step(47);
  Append("train.log", "first step (1) done\n");
  Append("checkpoints/step-00000040/state.json", "{}");
  RunFolder run(path_.string());
  run.MarkStart();
  EXPECT_FALSE(run.SinceMark().ranks_are_up);
  EXPECT_FALSE(run.SinceMark().made_step());
  EXPECT_EQ(run.NewestCheckpoint(), 40);
}

TEST_F(RunFolderTest, AStartThatIsUpHasNotMadeAStepYet) {
  Append("checkpoints/step-00000040/state.json", "{}");
  RunFolder run(path_.string());
  run.MarkStart();
  Step(40);  // what the trainer leaves of metrics.jsonl
  Start(40);
  EXPECT_TRUE(run.SinceMark().ranks_are_up);
  EXPECT_FALSE(run.SinceMark().made_step());
  EXPECT_EQ(run.SinceMark().from_step, 40);
}

TEST_F(RunFolderTest, ALoggedStepIsProgressEvenBelowWhatWasReachedBefore) {
  Start(0);
  Step(47);
  RunFolder run(path_.string());
  run.MarkStart();
  fs::remove(path_ / "metrics.jsonl");
  Start(40);
  Step(41);
  Append("metrics.jsonl", "{\"step\":99");  // torn
  EXPECT_TRUE(run.SinceMark().made_step());
  EXPECT_EQ(run.SinceMark().step, 41);
  EXPECT_EQ(run.SinceMark().saved_step, 40);
}

TEST_F(RunFolderTest, ANewCheckpointIsProgress) {
  Append("checkpoints/step-00000040/state.json", "{}");
  Append("checkpoints/step-00000050/state.json", "{");  // damaged: the trainer passes it over
  RunFolder run(path_.string());
  run.MarkStart();
  Start(40);
  EXPECT_FALSE(run.SinceMark().made_step());
  Append("checkpoints/.tmp-step-00000060/state.json", "{}");
  EXPECT_FALSE(run.SinceMark().made_step());
  Append("checkpoints/step-00000045/state.json", "{}");
  EXPECT_EQ(run.SinceMark().step, 45);
  fs::last_write_time(path_ / "checkpoints/step-00000050/state.json",
                      fs::file_time_type::clock::now() + std::chrono::seconds(1));  // saved again
  EXPECT_EQ(run.SinceMark().step, 50);
  EXPECT_EQ(run.SinceMark().saved_step, 50);
}

TEST_F(RunFolderTest, TheLogsFirstStepIsProgress) {
  RunFolder run(path_.string());
  run.MarkStart();
  Start(40);
  Append("train.log", "12:00:00 info first step (41) done after 1.2s\n");
  EXPECT_TRUE(run.SinceMark().made_step());
  EXPECT_EQ(run.SinceMark().step, 41);
}

TEST_F(RunFolderTest, AFolderThatWasDeletedAndMadeAnewCounts) {
  Append("starts.jsonl", "{\"unix_seconds\":1,\"from_step\":0}\n{\"unix_seconds\":2,\"from_step\":3}\n");
  Append("train.log", "12:00:00 info first step (1) done after 1.2s\n");
  RunFolder run(path_.string());
  run.MarkStart();
  fs::remove_all(path_);
  Append("starts.jsonl", "{\"unix_seconds\":3,\"from_step\":40}\n");
  EXPECT_TRUE(run.SinceMark().ranks_are_up);
  EXPECT_FALSE(run.SinceMark().made_step());
  Append("train.log", "12:34:56 info first step (41) done after 1.2s\n");
  EXPECT_TRUE(run.SinceMark().made_step());
}

TEST_F(RunFolderTest, OfALongFileTheEndCounts) {
  RunFolder run(path_.string());
  run.MarkStart();
  Start(0);
  std::string lines;
  for (int step = 1; step <= 100'000; ++step) lines += "{\"step\":" + std::to_string(step) + ",\"loss\":1}\n";
  Append("metrics.jsonl", lines);
  EXPECT_EQ(run.SinceMark().step, 100'000);
}

TEST_F(RunFolderTest, BadBytesDoNoHarm) {
  RunFolder run(path_.string());
  run.MarkStart();
  constexpr char kNoise[] = "\0\n{\"from_step\":\"x\"}\n[]\n\xff\xfe\nfirst step (\n";
  const std::string noise(kNoise, sizeof(kNoise) - 1);
  for (const char* file : {"starts.jsonl", "metrics.jsonl", "train.log"}) Append(file, noise);
  Append("checkpoints/step-x/state.json", "");
  Append("checkpoints/step-99999999999999999999/state.json", "");
  EXPECT_FALSE(run.SinceMark().ranks_are_up);
  Start(0);
  EXPECT_FALSE(run.SinceMark().made_step());
  EXPECT_EQ(run.NewestCheckpoint(), 0);
}

TEST(RunConfigTest, IsReadFromYaml) {
  const auto config =
      ReadRunConfig("run:\n  dir: \"a b\"  # c\ntrain:\n  global_batch: 32\n  accumulate: 2\n");
  ASSERT_TRUE(config.ok());
  EXPECT_EQ(config->dir, "a b");
  EXPECT_EQ(config->global_batch, 32);
  EXPECT_EQ(config->accumulate, 2);
}

TEST(RunConfigTest, OtherThingsAreErrors) {
  for (const char* text : {"", "hello", "[1, 2]", "run: 3", "run: {dir: x}", "a: [", "\xff\xff",
                           "run: {dir: x}\ntrain: {global_batch: 0, accumulate: 1}",
                           "run: {dir: ''}\ntrain: {global_batch: 1, accumulate: 1}",
                           "run: {dir: x}\ntrain: {global_batch: many, accumulate: 1}"}) {
    EXPECT_EQ(ReadRunConfig(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

}  // namespace
}  // namespace launcher::tool
