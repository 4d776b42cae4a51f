// Saving and loading checkpoints when nothing goes wrong, and finding every damaged byte when something did.
#include "trainer/checkpoint/checkpoint_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "tests/trainer/checkpoint/temporary_folder.h"

namespace trainer::checkpoint {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

Snapshot MakeSnapshot(double value) {
  Snapshot snapshot;
  snapshot.model = {{"encoder.weight", torch::full({3, 4}, value)},
                    {"encoder.bias", torch::full({4}, -value)}};
  snapshot.optimizer = {{"exp_avg", torch::full({16}, value / 3)},
                        {"exp_avg_sq", torch::full({16}, value * value)}};
  snapshot.state = {
      {"epoch", 3}, {"cursor", int64_t{1} << 40}, {"loss", value / 7}, {"speakers", {"anna", "béla"}}};
  return snapshot;
}

void ExpectHolds(const Snapshot& actual, double value, int64_t step) {
  const Snapshot expected = MakeSnapshot(value);
  ASSERT_EQ(actual.model.size(), 2);
  ASSERT_EQ(actual.optimizer.size(), 2);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(actual.model[i].first, expected.model[i].first);
    EXPECT_TRUE(torch::equal(actual.model[i].second, expected.model[i].second));
    EXPECT_TRUE(torch::equal(actual.optimizer[i].second, expected.optimizer[i].second));
  }
  nlohmann::json state = expected.state;
  state["step"] = step;
  EXPECT_EQ(actual.state, state);
}

class CheckpointStoreTest : public ::testing::Test {
 protected:
  fs::path Checkpoints() const { return folder_.path() / "run/checkpoints"; }
  std::string Target(const std::string& link) const {
    return fs::read_symlink(Checkpoints() / link).string();
  }
  std::vector<std::string> Entries() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(Checkpoints()))
      names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
  }
  void Save(int64_t step, double value, bool is_best = false) {
    const absl::Status status = store_.Save(step, MakeSnapshot(value), is_best);
    ASSERT_TRUE(status.ok()) << status;
  }

  TemporaryFolder folder_;
  CheckpointStore store_{folder_ / "run", 2};
};

TEST_F(CheckpointStoreTest, WhatIsSavedIsLoaded) {
  Save(2000, 1.25, true);
  EXPECT_THAT(Entries(), ElementsAre("best", "last", "step-00002000"));
  for (const char* name : {"step-00002000", "last", "best"}) {
    absl::StatusOr<Snapshot> loaded = CheckpointStore::Load((Checkpoints() / name).string(), true);
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    ExpectHolds(*loaded, 1.25, 2000);
  }
  absl::StatusOr<Snapshot> model_only = CheckpointStore::Load((Checkpoints() / "last").string(), false);
  EXPECT_THAT(model_only->optimizer, IsEmpty());
  EXPECT_THAT(model_only->model, SizeIs(2));
}

TEST_F(CheckpointStoreTest, TheStateIsPlainJson) {
  Save(7, 1);
  const nlohmann::json state = nlohmann::json::parse(ReadBytes(Checkpoints() / "last/state.json"));
  EXPECT_EQ(state["step"], 7);
  EXPECT_EQ(state["format_version"], 1);
  EXPECT_EQ(state["epoch"], 3);
  EXPECT_THAT(state["checksums"], SizeIs(3));
}

TEST_F(CheckpointStoreTest, NoCheckpointsAreNotAnError) {
  std::vector<std::string> warnings;
  EXPECT_EQ(store_.LoadLatest(&warnings)->has_value(), false);
  EXPECT_THAT(*store_.Steps(), IsEmpty());
  fs::create_directories(Checkpoints());
  EXPECT_EQ(store_.LoadLatest(&warnings)->has_value(), false);
  EXPECT_THAT(warnings, IsEmpty());
}

TEST_F(CheckpointStoreTest, KeepsTheNewestAndTheBest) {
  Save(100, 1);
  Save(200, 2, true);
  Save(300, 3);
  Save(400, 4);
  Save(500, 5);
  EXPECT_THAT(*store_.Steps(), ElementsAre(200, 400, 500));
  EXPECT_EQ(Target("best"), "step-00000200");
  EXPECT_EQ(Target("last"), "step-00000500");
  Save(600, 6, true);
  EXPECT_THAT(*store_.Steps(), ElementsAre(500, 600));
  ExpectHolds((*store_.LoadLatest(nullptr))->snapshot, 6, 600);
}

TEST_F(CheckpointStoreTest, NeverRemovesTheOneJustWritten) {
  CheckpointStore one(folder_ / "run", 1);
  ASSERT_TRUE(one.Save(500, MakeSnapshot(5), false).ok());
  ASSERT_TRUE(one.Save(300, MakeSnapshot(3), false).ok());
  EXPECT_THAT(*one.Steps(), ElementsAre(300, 500));
  EXPECT_EQ(Target("last"), "step-00000300");
}

TEST_F(CheckpointStoreTest, TheSameAgainOnlyMovesTheLinks) {
  Save(100, 1, true);
  const auto written = fs::last_write_time(Checkpoints() / "step-00000100/model.safetensors");
  fs::remove(Checkpoints() / "best");
  Save(100, 1, true);
  EXPECT_EQ(fs::last_write_time(Checkpoints() / "step-00000100/model.safetensors"), written);
  EXPECT_EQ(Target("best"), "step-00000100");
}

TEST_F(CheckpointStoreTest, ASavedStepCanBecomeTheBest) {
  Save(100, 1);
  EXPECT_FALSE(fs::exists(Checkpoints() / "best"));
  Save(100, 1, true);
  EXPECT_EQ(Target("best"), "step-00000100");
}

TEST_F(CheckpointStoreTest, TheSameStepWithOtherContentIsReplaced) {
  Save(100, 1, true);
  Save(100, 2);
  ExpectHolds((*store_.LoadLatest(nullptr))->snapshot, 2, 100);
  EXPECT_THAT(Entries(), ElementsAre("best", "last", "step-00000100"));
  WriteBytes(Checkpoints() / "step-00000100/model.safetensors", "damaged");
  Save(100, 2);
  ExpectHolds((*store_.LoadLatest(nullptr))->snapshot, 2, 100);
}

TEST_F(CheckpointStoreTest, LeftoversAreIgnoredAndThenRemoved) {
  Save(100, 1);
  fs::create_directories(Checkpoints() / ".tmp-step-00000200");
  WriteBytes(Checkpoints() / ".tmp-step-00000200/model.safetensors", "half");
  fs::create_directory_symlink("step-00000200", Checkpoints() / ".tmp-last");
  std::vector<std::string> warnings;
  EXPECT_EQ((*store_.LoadLatest(&warnings))->step, 100);
  EXPECT_THAT(warnings, IsEmpty());
  Save(200, 2);
  EXPECT_THAT(Entries(), ElementsAre("last", "step-00000100", "step-00000200"));
}

TEST_F(CheckpointStoreTest, LinksThatACrashLeftBehindAreSet) {
  Save(100, 1, true);
  Save(200, 2, true);
  const auto set_back = [&] {
    for (const char* link : {"last", "best"}) {
      fs::remove(Checkpoints() / link);
      fs::create_directory_symlink("step-00000100", Checkpoints() / link);
    }
  };
  set_back();
  ASSERT_TRUE(store_.FinishInterrupted().ok());
  EXPECT_EQ(Target("last"), "step-00000200");
  EXPECT_EQ(Target("best"), "step-00000200");
  set_back();
  Save(300, 3);
  EXPECT_EQ(Target("last"), "step-00000300");
  EXPECT_EQ(Target("best"), "step-00000200");

  ASSERT_TRUE(store_.FinishInterrupted().ok());
  EXPECT_EQ(Target("best"), "step-00000200") << "the newest was not the best";
  WriteBytes(Checkpoints() / "step-00000300/model.safetensors", "damaged");
  set_back();
  ASSERT_TRUE(store_.FinishInterrupted().ok());
  EXPECT_EQ(Target("last"), "step-00000100") << "no link is set to a damaged checkpoint";
}

TEST_F(CheckpointStoreTest, ADamagedNewestIsNamedAndSkipped) {
  Save(100, 1);
  Save(200, 2);
  fs::remove(Checkpoints() / "step-00000200/optimizer.safetensors");
  std::vector<std::string> warnings;
  absl::StatusOr<std::optional<LoadedCheckpoint>> loaded = store_.LoadLatest(&warnings);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ((*loaded)->step, 100);
  EXPECT_EQ((*loaded)->folder, (Checkpoints() / "step-00000100").string());
  ExpectHolds((*loaded)->snapshot, 1, 100);
  EXPECT_THAT(warnings,
              ElementsAre("checkpoint skipped: " +
                          (Checkpoints() / "step-00000200/optimizer.safetensors").string() + ": is missing"));
}

TEST_F(CheckpointStoreTest, AllDamagedIsAnErrorThatNamesThem) {
  Save(100, 1);
  Save(200, 2);
  fs::remove(Checkpoints() / "step-00000200/state.json");
  fs::resize_file(Checkpoints() / "step-00000100/model.safetensors", 50);
  const absl::Status status = store_.LoadLatest(nullptr).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  const std::string message(status.message());
  EXPECT_THAT(message, HasSubstr("none of the 2 checkpoints can be used"));
  EXPECT_THAT(message, HasSubstr("step-00000200/state.json: is missing"));
  EXPECT_THAT(message, HasSubstr("step-00000100/model.safetensors: damaged"));
  EXPECT_THAT(message, Not(HasSubstr("\n")));
}

TEST_F(CheckpointStoreTest, EveryFlippedByteIsFoundAndNamed) {
  Save(100, 1);
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  for (const char* file : {"model.safetensors", "optimizer.safetensors", "state.json"}) {
    const fs::path path = Checkpoints() / "step-00000100" / file;
    const std::string good = ReadBytes(path);
    for (size_t i = 0; i < good.size(); ++i) {
      std::string bad = good;
      bad[i] = static_cast<char>(bad[i] ^ static_cast<char>(1 + random() % 255));
      WriteBytes(path, bad);
      const absl::Status status = CheckpointStore::Load((Checkpoints() / "last").string(), true).status();
      ASSERT_EQ(status.code(), absl::StatusCode::kDataLoss) << file << " byte " << i;
      ASSERT_THAT(std::string(status.message()), HasSubstr(path.string()));
    }
    for (const std::string& bad : {good.substr(0, good.size() - 1), good + " ", std::string()}) {
      WriteBytes(path, bad);
      EXPECT_EQ(CheckpointStore::Load((Checkpoints() / "last").string(), true).status().code(),
                absl::StatusCode::kDataLoss);
    }
    WriteBytes(path, good);
  }
  EXPECT_TRUE(CheckpointStore::Load((Checkpoints() / "last").string(), true).ok());
}

TEST_F(CheckpointStoreTest, FilesOfAnotherCheckpointAreNoticed) {
  Save(100, 1);
  Save(200, 2);
  fs::copy_file(Checkpoints() / "step-00000100/model.safetensors",
                Checkpoints() / "step-00000200/model.safetensors", fs::copy_options::overwrite_existing);
  EXPECT_EQ((*store_.LoadLatest(nullptr))->step, 100);
}

TEST_F(CheckpointStoreTest, WrongPathsSayWhatIsMeant) {
  Save(100, 1, true);
  const auto error = [](const std::string& path) {
    const absl::Status status = LoadModel(path).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
    return std::string(status.message());
  };
  EXPECT_THAT(error(folder_ / "nowhere"), HasSubstr("nowhere: no such checkpoint folder"));
  EXPECT_THAT(error(folder_ / "run"), HasSubstr("did you mean " + (Checkpoints() / "best").string() + "?"));
  EXPECT_THAT(error(Checkpoints().string()),
              HasSubstr("did you mean " + (Checkpoints() / "best").string() + "?"));
  EXPECT_THAT(error(folder_.path().string()), HasSubstr("it has no state.json"));
  EXPECT_EQ(CheckpointStore::Load((Checkpoints() / "last/state.json").string(), true).status().code(),
            absl::StatusCode::kNotFound);
}

TEST_F(CheckpointStoreTest, AModelAloneFromAFolderOrAFile) {
  Save(100, 1, true);
  EXPECT_EQ(LoadModel((Checkpoints() / "best").string())->state["step"], 100);
  absl::StatusOr<Snapshot> plain = LoadModel((Checkpoints() / "best/model.safetensors").string());
  ASSERT_TRUE(plain.ok()) << plain.status();
  EXPECT_TRUE(plain->state.is_null());
  EXPECT_TRUE(torch::equal(plain->model[0].second, torch::full({3, 4}, 1.0)));
}

TEST_F(CheckpointStoreTest, RefusesWhatItCouldNotGiveBack) {
  Snapshot snapshot = MakeSnapshot(1);
  snapshot.state["checksums"] = 1;
  EXPECT_EQ(store_.Save(100, snapshot, false).code(), absl::StatusCode::kInvalidArgument);
  snapshot.state = nlohmann::json::array();
  EXPECT_EQ(store_.Save(100, snapshot, false).code(), absl::StatusCode::kInvalidArgument);
  snapshot.state = {{"name", "\xff"}};
  EXPECT_EQ(store_.Save(100, snapshot, false).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(store_.Save(-1, MakeSnapshot(1), false).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(fs::exists(Checkpoints()));
}

}  // namespace
}  // namespace trainer::checkpoint
