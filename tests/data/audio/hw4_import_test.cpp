#include "data/hw4_import.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "audio_fixtures.h"
#include "data/dataset.h"
#include "pt_bytes.h"

namespace data {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int kMels = 4;

std::vector<float> Frames(int utterance, int64_t rows) {
  std::vector<float> values;
  for (int64_t i = 0; i < rows * kMels; ++i)
    values.push_back(std::sin(static_cast<float>(100 * utterance + i)));
  return values;
}

// Two speakers (whose indexes are not in the order of their names) with three utterances each, and two to be
// told.
class Hw4Folder : public ::testing::Test {
 protected:
  Hw4Folder() {
    options_.writer.folder = folder_.path() + "/dst";
    mapping_ = {{"speaker2id", {{"id1", 1}, {"id2", 0}}}, {"id2speaker", {{"0", "id2"}, {"1", "id1"}}}};
    metadata_["n_mels"] = kMels;
    testdata_["n_mels"] = kMels;
    int number = 0;
    for (const char* speaker : {"id1", "id2"}) {
      for (int i = 0; i < 3; ++i) metadata_["speakers"][speaker].push_back(Utterance(number++));
    }
    for (int i = 0; i < 2; ++i) testdata_["utterances"].push_back(Utterance(number++));
  }

  json Utterance(int number) {
    const std::string name = "uttr-" + std::to_string(number) + ".pt";
    const int64_t rows = 10 + number;
    testing::WriteBytes(folder_.File("src/" + name), testing::PtBytes(rows, kMels, Frames(number, rows)));
    return {{"feature_path", name}, {"mel_len", rows}};
  }

  absl::StatusOr<IngestSummary> Import() {
    testing::WriteBytes(folder_.File("src/mapping.json"), mapping_.dump());
    testing::WriteBytes(folder_.File("src/metadata.json"), metadata_.dump());
    testing::WriteBytes(folder_.File("src/testdata.json"), testdata_.dump());
    return ImportHw4(folder_.path() + "/src", options_);
  }

  void ExpectError(const std::string& message, absl::StatusCode code = absl::StatusCode::kInvalidArgument) {
    const absl::Status status = Import().status();
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(message));
    EXPECT_EQ(status.message().find('\n'), std::string::npos);
    EXPECT_FALSE(std::filesystem::exists(options_.writer.folder + "/dataset.json"));
  }

  testing::TempFolder folder_;
  json mapping_, metadata_, testdata_;
  IngestOptions options_{.threads = 3};
};

TEST_F(Hw4Folder, EveryBitArrives) {
  const auto summary = Import();
  ASSERT_TRUE(summary.ok()) << summary.status();
  EXPECT_EQ(summary->utterances, 8);
  const auto dataset = Dataset::Open(options_.writer.folder);
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_THAT((*dataset)->manifest().speakers, ElementsAre("id2", "id1"));
  EXPECT_EQ((*dataset)->manifest().front_end.source, "hw4");
  EXPECT_EQ((*dataset)->n_mels(), kMels);
  const int numbers[] = {3, 4, 5, 0, 1, 2, 6, 7};
  const int speakers[] = {0, 0, 0, 1, 1, 1, -1, -1};
  for (int64_t u = 0; u < 8; ++u) {
    const int number = numbers[u];
    EXPECT_EQ(*(*dataset)->utterance_id(u), "uttr-" + std::to_string(number) + ".pt");
    EXPECT_EQ((*dataset)->speaker(u), speakers[u]);
    ASSERT_EQ((*dataset)->frames(u), 10 + number);
    std::vector<float> frames(static_cast<size_t>((10 + number) * kMels));
    ASSERT_TRUE((*dataset)->Read(u, 0, 10 + number, frames.data()).ok());
    EXPECT_EQ(frames, Frames(number, 10 + number));
  }
  EXPECT_THAT(*(*dataset)->Split("train"), ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_THAT(*(*dataset)->Split("test"), ElementsAre(6, 7));
}

TEST_F(Hw4Folder, SplitCutsValidFromTrainAndLeavesTest) {
  options_.split = "train:valid=2:1";
  ASSERT_TRUE(Import().ok());
  const auto dataset = Dataset::Open(options_.writer.folder);
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_EQ((*dataset)->Split("train")->size(), 4u);
  EXPECT_EQ((*dataset)->Split("valid")->size(), 2u);
  EXPECT_THAT((*dataset)->CountBySpeaker(*(*dataset)->Split("valid")), ElementsAre(1, 1));
  EXPECT_THAT(*(*dataset)->Split("test"), ElementsAre(6, 7));
  std::filesystem::remove_all(options_.writer.folder);
  options_.split = "train:test=2:1";
  ExpectError("a split 'test' of its own");
}

TEST_F(Hw4Folder, DamagedFeatureFilesAreNamed) {
  const std::string path = folder_.path() + "/src/uttr-4.pt";
  const std::string whole = testing::ReadBytes(path);
  testing::WriteBytes(path, whole.substr(0, whole.size() / 2));
  ExpectError(path + ": is damaged or truncated", absl::StatusCode::kDataLoss);
  std::filesystem::remove(path);
  ExpectError(path + ": no such file", absl::StatusCode::kNotFound);
  std::vector<float> frames = Frames(4, 14);
  frames[13 * kMels] = std::numeric_limits<float>::quiet_NaN();
  testing::WriteBytes(path, testing::PtBytes(14, kMels, frames));
  ExpectError(path + ": frame 13 holds nan", absl::StatusCode::kDataLoss);
  testing::WriteBytes(path, testing::PtBytes(13, kMels, Frames(4, 13)));
  ExpectError(path + ": has the shape (13, 4); the JSON files say (14, 4)");
  testing::WriteBytes(path, testing::PtBytes(14, kMels + 1, std::vector<float>(14 * 5)));
  ExpectError(path + ": has the shape (14, 5)");
}

TEST_F(Hw4Folder, SkipBadListsThemAndDropsLostSpeakers) {
  options_.skip_bad = true;
  for (const int number : {3, 4, 5, 7}) {
    testing::WriteBytes(folder_.File("src/uttr-" + std::to_string(number) + ".pt"), "broken");
  }
  const auto summary = Import();
  ASSERT_TRUE(summary.ok()) << summary.status();
  EXPECT_EQ(summary->utterances, 4);
  EXPECT_EQ(summary->skipped, 4);
  const auto dataset = Dataset::Open(options_.writer.folder);
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_THAT((*dataset)->manifest().speakers, ElementsAre("id1"));
  EXPECT_EQ((*dataset)->speaker(0), 0);
  EXPECT_EQ((*dataset)->speaker(3), -1);
  const std::string report = testing::ReadBytes(options_.writer.folder + "/skipped.csv");
  for (const char* part : {"path,reason\n", "uttr-3.pt,is not a file that torch.save wrote", "uttr-7.pt,",
                           "id2,speaker left out: no usable utterance\n"}) {
    EXPECT_THAT(report, HasSubstr(part));
  }
}

TEST_F(Hw4Folder, SkipBadWithNothingLeft) {
  options_.skip_bad = true;
  for (int number = 0; number < 8; ++number) {
    testing::WriteBytes(folder_.File("src/uttr-" + std::to_string(number) + ".pt"), "broken");
  }
  ExpectError("not one file can be used");
}

TEST_F(Hw4Folder, JsonMistakesAreNamed) {
  const auto with = [&](auto change, const std::string& message) {
    const json mapping = mapping_, metadata = metadata_, testdata = testdata_;
    change();
    ExpectError(message);
    mapping_ = mapping, metadata_ = metadata, testdata_ = testdata;
  };
  with([&] { mapping_["speaker2id"].erase("id2"), mapping_["speaker2id"]["id1"] = 0; },
       "metadata.json: speaker 'id2' is not in");
  with([&] { mapping_["speaker2id"]["id3"] = 2; },
       "metadata.json: speaker 'id3' of mapping.json has no utterances");
  with([&] { mapping_["speaker2id"]["id1"] = 0; },
       "mapping.json: speakers 'id1' and 'id2' have the same index 0");
  with([&] { mapping_["speaker2id"]["id1"] = 7; },
       "mapping.json: speaker 'id1': the index 7 is not one of 0 to 1");
  with([&] { mapping_["speaker2id"]["id1"] = "1"; }, "mapping.json: speaker 'id1': the index \"1\"");
  with([&] { mapping_ = json::array(); }, "mapping.json: is not a JSON object");
  with([&] { mapping_.erase("speaker2id"); }, "mapping.json: 'speaker2id' is missing");
  with([&] { metadata_["n_mels"] = "40"; }, "metadata.json: 'n_mels' is missing, or no integer");
  with([&] { testdata_["n_mels"] = 5; }, "testdata.json: n_mels is 5, in metadata.json it is 4");
  with([&] { metadata_["speakers"]["id1"][1].erase("mel_len"); },
       "metadata.json: speaker 'id1', utterance 1 (from 0): 'mel_len' is missing");
  with([&] { metadata_["speakers"]["id1"][1]["feature_path"] = "../../etc/passwd"; },
       "does not lie in the HW4 folder");
  with([&] { metadata_["speakers"]["id1"][1]["feature_path"] = "/etc/passwd"; },
       "does not lie in the HW4 folder");
  with([&] { testdata_["utterances"][0]["feature_path"] = "uttr-0.pt"; }, "'uttr-0.pt' is listed twice");
  with([&] { testdata_["utterances"] = 3; }, "testdata.json: 'utterances' is missing, or no list");
  with([&] { metadata_["speakers"]["id1"] = {{"x", 1}}; }, "speaker 'id1': is no list of utterances");
  ASSERT_TRUE(Import().ok());  // what the changes were made to was sound
}

TEST_F(Hw4Folder, BrokenAndMissingJson) {
  ASSERT_TRUE(Import().ok());
  const std::string path = folder_.path() + "/src/metadata.json";
  const std::string whole = testing::ReadBytes(path);
  testing::WriteBytes(path, whole.substr(0, whole.size() / 2));
  const auto broken = ListHw4(folder_.path() + "/src");
  ASSERT_FALSE(broken.ok());
  EXPECT_THAT(std::string(broken.status().message()),
              HasSubstr(path + ": is not JSON: parse error at line 1"));
  std::filesystem::remove(path);
  const auto missing = ListHw4(folder_.path() + "/src");
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.status().message()), HasSubstr(path + ": no such file"));
}

}  // namespace
}  // namespace data
