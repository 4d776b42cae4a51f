// `mels extract --speed`, run as a user runs it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "audio_fixtures.h"
#include "data/augment.h"
#include "data/log_mel.h"
#include "data/manifest.h"
#include "data/speed_copies.h"
#include "tests/data/dataset_fixtures.h"
#include "tests/data/mels_runner.h"

namespace data {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr double kAnnHz = 3000;
constexpr double kBobHz = 1500;

// Two speakers with four seconds of a tone each.
class Speed : public ::testing::Test {
 protected:
  void SetUp() override {
    for (int i = 0; i < 4; ++i) {
      const std::string name = std::to_string(i) + ".wav";
      testing::WriteAudio(folder_.File("src/ann/" + name), testing::kWav, 16000,
                          testing::Tone(kAnnHz, 1, 16000));
      testing::WriteAudio(folder_.File("src/bob/" + name), testing::kWav, 44100,
                          testing::Tone(kBobHz, 1, 44100));
    }
  }

  std::string path(const std::string& name) const { return folder_.path() + "/" + name; }

  Outcome Extract(const std::string& destination, const std::vector<std::string>& more,
                  const std::string& source = "src") const {
    std::vector<std::string> arguments = {"extract", path(source), path(destination)};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return RunMels(arguments);
  }

  void ExpectExtractRefused(const std::vector<std::string>& more, const std::string& message,
                            const std::string& source = "src") const {
    std::vector<std::string> arguments = {"extract", path(source), path("refused")};
    arguments.insert(arguments.end(), more.begin(), more.end());
    ExpectRefused(arguments, message);
    EXPECT_FALSE(std::filesystem::exists(path("refused/dataset.json")));
  }

  static std::vector<float> Frames(const Dataset& dataset, int64_t u) {
    std::vector<float> frames(static_cast<size_t>(dataset.frames(u) * dataset.n_mels()));
    EXPECT_TRUE(dataset.Read(u, 0, dataset.frames(u), frames.data()).ok());
    return frames;
  }

  static std::set<std::string> Ids(const Dataset& dataset, const std::string& split) {
    std::set<std::string> ids;
    const auto utterances = dataset.Split(split);
    EXPECT_TRUE(utterances.ok()) << utterances.status();
    for (const int64_t u : utterances.value()) ids.insert(*dataset.utterance_id(u));
    return ids;
  }

  static int64_t Find(const Dataset& dataset, const std::string& id) {
    for (int64_t u = 0; u < dataset.size(); ++u) {
      if (*dataset.utterance_id(u) == id) return u;
    }
    ADD_FAILURE() << "no utterance " << id;
    return 0;
  }

  // The band whose triangle is highest at a frequency: the one with the nearest centre on the HTK scale.
  static int64_t BandOf(double hz) {
    const auto mel = [](double f) { return 2595 * std::log10(1 + f / 700); };
    return std::llround((mel(hz) - mel(50)) / ((mel(8000) - mel(50)) / 41)) - 1;
  }

  static int64_t LoudestBand(const Dataset& dataset, int64_t u) {
    const std::vector<float> frames = Frames(dataset, u);
    const auto row = frames.begin() + dataset.frames(u) / 2 * dataset.n_mels();
    return std::max_element(row, row + dataset.n_mels()) - row;
  }

  const testing::TempFolder folder_;
};

TEST_F(Speed, CopiesAreNewSpeakersOfOtherPitchAndLength) {
  const Outcome outcome = Extract("set", {"--speed", "0.9,1.1"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("24 utterances of 6 speakers"));
  const auto set = OpenOrDie(path("set"));
  EXPECT_THAT(set->manifest().speakers,
              ElementsAre("ann", "bob", "ann@0.9", "bob@0.9", "ann@1.1", "bob@1.1"));
  EXPECT_THAT(set->manifest().speeds, ElementsAre(0.9, 1.1));
  EXPECT_EQ(set->Split("train")->size(), 24u);
  ASSERT_NE(BandOf(kAnnHz), BandOf(1.1 * kAnnHz));
  ASSERT_NE(BandOf(kBobHz), BandOf(0.9 * kBobHz));
  for (const auto& [speaker, hz] : {std::pair{"ann", kAnnHz}, {"bob", kBobHz}}) {
    for (const auto& [suffix, speed] : {std::pair{"", 1.0}, {"@0.9", 0.9}, {"@1.1", 1.1}}) {
      const int64_t u = Find(*set, std::string(speaker) + "/2.wav" + suffix);
      EXPECT_EQ(set->manifest().speakers[static_cast<size_t>(set->speaker(u))],
                speaker + std::string(suffix));
      EXPECT_EQ(LoudestBand(*set, u), BandOf(hz * speed)) << speaker << suffix;
      EXPECT_NEAR(static_cast<double>(set->frames(u)), static_cast<double>(MelFrames(16000)) / speed, 2);
    }
  }
  EXPECT_THAT(RunMels({"info", path("set")}).out, HasSubstr("4 of them are copies at speed 0.9, 1.1"));
  EXPECT_EQ(RunMels({"check", path("set")}).code, 0);
}

TEST_F(Speed, OriginalsAndTheirSplitsStayAndNoCopyLeaks) {
  const std::vector<std::string> split = {"--split", "train:valid:test=2:1:1", "--seed", "3"};
  std::vector<std::string> with = split;
  with.insert(with.end(), {"--speed", "1.1"});
  ASSERT_EQ(Extract("plain", split).code, 0);
  ASSERT_EQ(Extract("copies", with).code, 0);
  const auto plain = OpenOrDie(path("plain")), copies = OpenOrDie(path("copies"));
  ASSERT_EQ(plain->size(), 8);
  for (int64_t u = 0; u < plain->size(); ++u) {
    EXPECT_EQ(*plain->utterance_id(u), *copies->utterance_id(u));
    EXPECT_EQ(plain->speaker(u), copies->speaker(u));
    EXPECT_TRUE(SameBits(Frames(*plain, u), Frames(*copies, u)));
  }
  for (const std::string held_out : {"valid", "test"}) {
    EXPECT_EQ(*plain->Split(held_out), *copies->Split(held_out));
    EXPECT_FALSE(plain->Split(held_out)->empty());
  }
  std::set<std::string> expected = Ids(*plain, "train");
  for (const std::string& id : Ids(*plain, "train")) expected.insert(id + "@1.1");
  EXPECT_EQ(Ids(*copies, "train"), expected);
  EXPECT_EQ(copies->size(), 8 + static_cast<int64_t>(expected.size()) / 2);

  // Dealing them anew could part copies from originals; a split without copies may be dealt.
  const std::string before = ReadBytes(path("copies/dataset.json"));
  ExpectRefused({"split", path("copies"), "--split", "train:valid=1:1"}, "copies at other speeds");
  ExpectRefused({"split", path("copies"), "--split", "a:b=1:1", "--from", "train"}, "copies at other speeds");
  EXPECT_EQ(ReadBytes(path("copies/dataset.json")), before);
  EXPECT_EQ(RunMels({"split", path("copies"), "--split", "a:b=1:1", "--from", "test"}).code, 0);
  EXPECT_THAT(OpenOrDie(path("copies"))->manifest().speeds, ElementsAre(1.1));
  EXPECT_THAT(ReadBytes(path("plain/dataset.json")), Not(HasSubstr("speeds")));
}

TEST_F(Speed, ACopyIsNoOtherVoice) {
  ASSERT_EQ(Extract("set", {"--speed", "0.9,1.1"}).code, 0);
  const auto set = OpenOrDie(path("set"));
  AugmentOptions options;
  options.babble_probability = 1;
  options.babble_voices = 1;
  const auto all = *set->Split("train");
  ASSERT_TRUE(CheckAugment(options, *set, all).ok());
  Augmenter augmenter(options, set, all, /*seed=*/1);
  // Ann and her copies sing higher than bob and his.
  const int64_t between = BandOf(2200);
  std::set<int64_t> added;
  for (const char* id : {"ann/0.wav", "ann/1.wav@0.9"}) {
    const int64_t u = Find(*set, id);
    const auto clean = Frames(*set, u);
    for (int64_t epoch = 0; epoch < 40; ++epoch) {
      auto mels = clean;
      ASSERT_TRUE(augmenter.Apply(epoch, u, mels).ok());
      const auto row = set->frames(u) / 2 * set->n_mels();
      int64_t most = 0;
      const auto gain = [&](int64_t band) {
        return mels[static_cast<size_t>(row + band)] - clean[static_cast<size_t>(row + band)];
      };
      for (int64_t band = 1; band < set->n_mels(); ++band) {
        if (gain(band) > gain(most)) most = band;
      }
      added.insert(most);
    }
  }
  EXPECT_LT(*added.rbegin(), between);
  EXPECT_GT(added.size(), 1u) << "bob's copies are others";
  // Ann alone has nobody to babble.
  std::vector<int64_t> anns;
  for (const int64_t u : all) {
    if (set->utterance_id(u)->starts_with("ann")) anns.push_back(u);
  }
  EXPECT_THAT(std::string(CheckAugment(options, *set, anns).message()), HasSubstr("two speakers"));
}

TEST_F(Speed, ListsKeepTheirOwnSplits) {
  testing::WriteBytes(folder_.File("list.csv"),
                      "path,speaker,split\n"
                      "src/ann/0.wav,ann,train\nsrc/ann/1.wav,ann,test\nsrc/bob/0.wav,bob,test\n");
  ASSERT_EQ(Extract("set", {"--speed", "0.8"}, "list.csv").code, 0);
  const auto set = OpenOrDie(path("set"));
  EXPECT_THAT(set->manifest().speakers, ElementsAre("ann", "bob", "ann@0.8"));
  EXPECT_EQ(Ids(*set, "train"), (std::set<std::string>{"src/ann/0.wav", "src/ann/0.wav@0.8"}));
  EXPECT_EQ(Ids(*set, "test"), (std::set<std::string>{"src/ann/1.wav", "src/bob/0.wav"}));
}

TEST_F(Speed, BadFilesAreLeftOutWithTheirCopies) {
  testing::WriteBytes(folder_.File("src/ann/1.wav"), "rubbish");
  // One frame at its own speed, none when it is played faster.
  testing::WriteAudio(folder_.File("src/bob/1.wav"), testing::kWav, 16000,
                      testing::Tone(1000, 0.0126, 16000));
  ExpectExtractRefused({"--speed", "1.5"}, "src/ann/1.wav: cannot be opened");
  ASSERT_EQ(Extract("set", {"--speed", "1.5", "--skip-bad"}).code, 0);
  const auto set = OpenOrDie(path("set"));
  EXPECT_EQ(set->size(), 3 + 4 + 3 + 3);
  const std::string report = ReadBytes(path("set/skipped.csv"));
  EXPECT_THAT(report, HasSubstr("src/ann/1.wav,\"cannot be opened"));
  EXPECT_THAT(report, HasSubstr("src/bob/1.wav,at speed 1.5 has 1"));
}

TEST(ParseSpeeds, TakesFactorsAsTheirNamesSayThem) {
  EXPECT_THAT(*ParseSpeeds("0.9"), ElementsAre(0.9));
  EXPECT_THAT(*ParseSpeeds("1.10,0.95,1.99"), ElementsAre(1.1, 0.95, 1.99));
  EXPECT_THAT(*ParseSpeeds("0.91234567"), ElementsAre(0.912346));
}

TEST(ParseSpeeds, RefusesFactorsThatCannotBe) {
  const auto expect = [](const std::string& factors, const std::string& message) {
    const absl::Status status = ParseSpeeds(factors).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << factors;
    EXPECT_THAT(std::string(status.message()), HasSubstr(message)) << factors;
  };
  for (const char* factors : {"0.5", "2", "-1", "0.9,3", "nan", "inf", "1e300", "0.50000001"}) {
    expect(factors, "is not between 0.5 and 2");
  }
  for (const char* factors : {"fast", "", "0.9,", "0.9;1.1", "0.9 x"}) expect(factors, "is not a number");
  for (const char* factors : {"1", "1.0", "0.9,1.0000001"}) expect(factors, "is the recordings' own speed");
  for (const char* factors : {"0.9,0.9", "0.9,1.1,0.90", "0.9,0.90000001"}) expect(factors, "comes twice");
}

TEST_F(Speed, RefusesFactorsInOneLine) {
  ExpectExtractRefused({"--speed", "0.9,2"}, "--speed 0.9,2: '2' is not between 0.5 and 2");
  ExpectExtractRefused({"--speed", "fast"}, "--speed fast: 'fast' is not a number");
}

TEST_F(Speed, RefusesSourcesThatItCannotCopy) {
  ExpectExtractRefused({"--speed", "0.9", "--split", "old:new=1:1"}, "of split 'train', and there are none");
  testing::WriteAudio(folder_.File("src/cyd@0.9/0.wav"), testing::kWav, 16000, testing::Tone(500, 1, 16000));
  ExpectExtractRefused({"--speed", "0.9"}, "speaker 'cyd@0.9' is named like a copy");
  EXPECT_EQ(Extract("set", {"--speed", "1.1"}).code, 0);
}

TEST_F(Speed, DamagedSpeedsInTheManifestAreNamed) {
  ASSERT_EQ(Extract("set", {"--speed", "0.9"}).code, 0);
  const std::string good = ReadBytes(path("set/dataset.json"));
  for (const char* value : {"0.9", "[\"0.9\"]", "[2]", "[0.1]", "{}", "[null]"}) {
    nlohmann::json manifest = nlohmann::json::parse(good);
    manifest["speeds"] = nlohmann::json::parse(value);
    WriteBytes(path("set/dataset.json"), manifest.dump());
    const absl::Status status = LoadManifest(path("set")).status();
    EXPECT_TRUE(absl::IsDataLoss(status)) << value;
    EXPECT_THAT(std::string(status.message()), HasSubstr("'speeds' is not a list of factors"));
  }
}

}  // namespace
}  // namespace data
