#include "data/extract.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "audio_fixtures.h"
#include "data/dataset.h"

namespace data {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Three speakers with four recordings each, in all formats.
class AudioTree : public ::testing::Test {
 protected:
  AudioTree() {
    uint32_t seed = 0;
    for (const char* speaker : {"ann", "bob", "cyd"}) {
      const std::string base = std::string("src/") + speaker;
      testing::WriteAudio(folder_.File(base + "/1.flac"), testing::kFlac, 16000,
                          testing::Noise(0.5, 16000, ++seed));
      testing::WriteAudio(folder_.File(base + "/2.wav"), testing::kWav, 44100,
                          testing::Noise(0.6, 44100, ++seed), {1, 0.5});
      testing::WriteAudio(folder_.File(base + "/more/3.ogg"), testing::kOgg, 22050,
                          testing::Noise(0.7, 22050, ++seed));
      testing::WriteAudio(folder_.File(base + "/more/4.mp3"), testing::kMp3, 48000,
                          testing::Noise(0.8, 48000, ++seed));
    }
  }

  std::string source() const { return folder_.path() + "/src"; }

  absl::StatusOr<IngestSummary> Run(const std::string& destination = "dst") {
    options_.writer.folder = folder_.path() + "/" + destination;
    return Extract(source(), extract_, options_);
  }

  std::shared_ptr<const Dataset> Result(const std::string& destination = "dst") {
    auto dataset = Dataset::Open(folder_.path() + "/" + destination);
    EXPECT_TRUE(dataset.ok()) << dataset.status();
    return dataset.ok() ? *dataset : nullptr;
  }

  static std::vector<float> Frames(const Dataset& dataset, int64_t u) {
    std::vector<float> frames(static_cast<size_t>(dataset.frames(u) * dataset.n_mels()));
    EXPECT_TRUE(dataset.Read(u, 0, dataset.frames(u), frames.data()).ok());
    return frames;
  }

  void ExpectError(const std::string& message, absl::StatusCode code = absl::StatusCode::kInvalidArgument) {
    const absl::Status status = Run().status();
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(message));
    EXPECT_FALSE(std::filesystem::exists(folder_.path() + "/dst/dataset.json"));
  }

  testing::TempFolder folder_;
  ExtractOptions extract_;
  IngestOptions options_{.threads = 2};
};

TEST_F(AudioTree, BecomesADataset) {
  const auto summary = Run();
  ASSERT_TRUE(summary.ok()) << summary.status();
  EXPECT_EQ(summary->utterances, 12);
  EXPECT_EQ(summary->speakers, 3);
  EXPECT_NEAR(summary->audio_seconds, 3 * 2.6, 0.4);
  const auto dataset = Result();
  EXPECT_THAT(dataset->manifest().speakers, ElementsAre("ann", "bob", "cyd"));
  EXPECT_EQ(dataset->size(), 12);
  EXPECT_EQ(*dataset->utterance_id(6), "bob/more/3.ogg");
  EXPECT_EQ(dataset->speaker(6), 1);
  EXPECT_EQ(dataset->Split("train")->size(), 12u);
  EXPECT_EQ(dataset->frames(0), MelFrames(8000));
  EXPECT_EQ(dataset->manifest().front_end, MakeFrontEnd(extract_));
}

TEST_F(AudioTree, SameDataWhateverTheThreads) {
  options_.split = "train:valid=3:1";
  ASSERT_TRUE(Run("one").ok());
  options_.threads = 7;
  ASSERT_TRUE(Run("seven").ok());
  const auto one = Result("one"), seven = Result("seven");
  ASSERT_EQ(one->size(), seven->size());
  EXPECT_EQ(one->manifest().splits, seven->manifest().splits);
  EXPECT_EQ(one->Split("valid")->size(), 3u);
  for (int64_t u = 0; u < one->size(); ++u) {
    EXPECT_EQ(*one->utterance_id(u), *seven->utterance_id(u));
    EXPECT_EQ(Frames(*one, u), Frames(*seven, u));
  }
}

TEST_F(AudioTree, OptionsChangeTheFeatures) {
  testing::WriteAudio(folder_.File("src/ann/1.flac"), testing::kFlac, 16000, [] {
    std::vector<float> samples(8000, 0.0F);
    const auto noise = testing::Noise(0.5, 16000, 99, 0.1F);
    samples.insert(samples.end(), noise.begin(), noise.end());
    return samples;
  }());
  extract_ = {.n_mels = 24, .normalize_db = -6.0206, .trim_silence = true};
  ASSERT_TRUE(Run("changed").ok());
  extract_ = {.n_mels = 24};
  ASSERT_TRUE(Run("plain").ok());
  const auto changed = Result("changed"), plain = Result("plain");
  EXPECT_EQ(changed->n_mels(), 24);
  EXPECT_TRUE(changed->manifest().front_end.trim_silence);
  EXPECT_EQ(changed->manifest().front_end.normalize_db, -6.0206);
  EXPECT_EQ(plain->frames(0), MelFrames(16000));
  EXPECT_NEAR(static_cast<double>(changed->frames(0)), MelFrames(8000), 3);
  // From a peak of 0.1 to one of 0.5: 25 times the power.
  const std::vector<float> loud = Frames(*changed, 0), soft = Frames(*plain, 0);
  double difference = 0;
  for (size_t i = 0; i < 20 * 24; ++i)
    difference += (loud[loud.size() - 1 - i] - soft[soft.size() - 1 - i]) / (20 * 24);
  EXPECT_NEAR(difference, std::log(25.0), 0.3);
}

TEST_F(AudioTree, FirstBadFileInOrderStopsIt) {
  testing::WriteBytes(folder_.File("src/cyd/2.wav"), "rubbish");
  testing::WriteBytes(folder_.File("src/bob/2.wav"), "rubbish");
  ExpectError(source() + "/bob/2.wav: cannot be opened as flac, wav, ogg or mp3");
}

TEST_F(AudioTree, UnusableRecordingsSayWhy) {
  const std::string path = folder_.File("src/ann/1.flac");
  testing::WriteAudio(path, testing::kFlac, 16000, testing::Noise(200.0 / 16000, 16000, 1));
  ExpectError(path + ": has 200 samples at 16 kHz; one frame needs at least 201");
  testing::WriteAudio(path, testing::kFlac, 16000, std::vector<float>(16000, 0.0F));
  ExpectError(path + ": is digital silence");
  testing::WriteAudio(path, testing::kFlac, 16000, testing::Noise(1, 16000, 1, 0.005F));
  extract_.trim_silence = true;
  ExpectError(path + ": holds only silence");
}

TEST_F(AudioTree, SkipBadListsBadFilesAndLostSpeakers) {
  options_.skip_bad = true;
  testing::WriteBytes(folder_.File("src/ann/2.wav"), "rubbish");
  for (const char* name : {"1.flac", "2.wav", "more/3.ogg", "more/4.mp3"}) {
    testing::WriteBytes(folder_.File(std::string("src/bob/") + name), "");
  }
  const auto summary = Run();
  ASSERT_TRUE(summary.ok()) << summary.status();
  EXPECT_EQ(summary->utterances, 7);
  EXPECT_EQ(summary->skipped, 5);
  const auto dataset = Result();
  EXPECT_THAT(dataset->manifest().speakers, ElementsAre("ann", "cyd"));
  EXPECT_EQ(*dataset->utterance_id(3), "cyd/1.flac");
  EXPECT_EQ(dataset->speaker(3), 1);
  const std::string report = testing::ReadBytes(folder_.path() + "/dst/skipped.csv");
  EXPECT_THAT(report, HasSubstr(source() + "/ann/2.wav,"));
  EXPECT_THAT(report, HasSubstr(source() + "/bob/more/3.ogg,is empty (0 bytes)\n"));
  EXPECT_THAT(report, HasSubstr("bob,speaker left out: no usable utterance\n"));
}

TEST_F(AudioTree, WrongOptions) {
  for (const double level : {0.1, -60.5, std::nan("")}) {
    extract_.normalize_db = level;
    ExpectError("a peak level lies between -60 and 0 dB");
  }
  extract_ = {.n_mels = 200};
  ExpectError("n_mels is 200");
  extract_ = {};
  options_.split = "train:valid";
  ExpectError("train:valid");
  EXPECT_FALSE(std::filesystem::exists(folder_.path() + "/dst"));
}

}  // namespace
}  // namespace data
