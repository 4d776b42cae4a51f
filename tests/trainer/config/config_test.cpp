// Loading, overriding and printing: what goes in comes out, bit for bit.
#include "trainer/config/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <random>
#include <sstream>

namespace trainer::config {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

Config Parsed(const std::string& text, const std::vector<std::string>& overrides = {}) {
  absl::StatusOr<Config> config = ParseConfig(text, "some/run.yaml", overrides);
  EXPECT_TRUE(config.ok()) << config.status();
  return config.ok() ? *config : Config();
}

TEST(Config, EmptyTextGivesTheDefaults) {
  for (const char* text : {"", "\n", "# nothing\n", "---\n", "model:\n", "{}"}) {
    Config expected;
    expected.run.dir = "runs/run";
    EXPECT_EQ(Parsed(text), expected) << text;
  }
}

TEST(Config, ReadsEveryTypeOfValue) {
  const Config config = Parsed(
      "run: {dir: /tmp/x y, seed: 9223372036854775807}\n"
      "data:\n  path: 'a: b # c'\n  valid_split: 2024\n"
      "optimizer:\n  lr: 5e-4\n  eps: .5\n  betas: [0, 0.98]\n  clip_norm: 5\n");
  EXPECT_EQ(config.run.dir, "/tmp/x y");
  EXPECT_EQ(config.run.seed, std::numeric_limits<int64_t>::max());
  EXPECT_EQ(config.data.path, "a: b # c");
  EXPECT_EQ(config.data.valid_split, "2024");
  EXPECT_EQ(config.optimizer.lr, 5e-4);
  EXPECT_EQ(config.optimizer.eps, 0.5);
  EXPECT_EQ(config.optimizer.betas, (std::array<double, 2>{0, 0.98}));
  EXPECT_EQ(config.optimizer.clip_norm, 5.0);
}

TEST(Config, DottedKeysAreAsGoodAsSections) { EXPECT_EQ(Parsed("optimizer.lr: 0.5\n").optimizer.lr, 0.5); }

TEST(Config, OverridesComeLastAndTheLaterOneCounts) {
  const Config config = Parsed("optimizer: {lr: 1}\n", {"optimizer.lr=2", "optimizer.betas=[0.5, 0.75]",
                                                        "data.path=a=b: [c] # d", "optimizer.lr=0.25"});
  EXPECT_EQ(config.optimizer.lr, 0.25);
  EXPECT_EQ(config.optimizer.betas, (std::array<double, 2>{0.5, 0.75}));
  EXPECT_EQ(config.data.path, "a=b: [c] # d") << "a string is taken as it stands";
}

TEST(Config, AnOverrideMayMendWhatTheFileLeavesInconsistent) {
  EXPECT_EQ(Parsed("model: {d_model: 81}\n", {"model.heads=3"}).model.heads, 3);
}

TEST(Config, RunFolderIsNamedAfterTheFileUnlessGiven) {
  EXPECT_EQ(Parsed("").run.dir, "runs/run");
  EXPECT_EQ(Parsed("", {"run.dir=elsewhere"}).run.dir, "elsewhere");
}

TEST(Config, DataPathIsAskedForWhenNeeded) {
  EXPECT_THAT(std::string(CheckDataPath(Parsed(""), "run.yaml").message()),
              HasSubstr("run.yaml: data.path: is not set; add data.path=FOLDER to the command line"));
  EXPECT_TRUE(CheckDataPath(Parsed("", {"data.path=x"}), "run.yaml").ok());
}

TEST(Config, WarnsOfWhatIsLegalButOdd) {
  EXPECT_THAT(Warnings(Parsed("")), IsEmpty());
  EXPECT_THAT(Warnings(Parsed("", {"schedule.total_steps=50"})), SizeIs(1));
  EXPECT_THAT(Warnings(Parsed("", {"data.valid_split=train"})), SizeIs(1));
}

// A finite double of any magnitude in (0, inf).
double AnyPositive(std::mt19937_64& random) {
  for (;;) {
    const double value = std::abs(std::bit_cast<double>(random()));
    if (std::isfinite(value) && value > 0) return value;
  }
}

std::string AnyText(std::mt19937_64& random) {
  static const std::vector<std::string> pieces = {
      "a",  "Z",      "0",    " ", "\"", "\\", "'", ":", "#", "\n", "\t", "\r", "-", "\x01", "é",
      "語", "\u2028", "null", "~", "[",  "{",  "&", "*", "!", "|",  ">",  "%",  "@", "\x7f"};
  std::string text;
  for (size_t i = random() % 8; i > 0; --i) text += pieces[random() % pieces.size()];
  return text;
}

TEST(Config, PrintedAndReadAgainIsTheSameBitForBit) {
  const uint64_t seed = 20240611;
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<double> unit(0, 1);
  for (int i = 0; i < 500; ++i) {
    Config config;
    config.run.dir = "d" + AnyText(random);
    config.run.seed = static_cast<int64_t>(random() >> 1);
    config.data.path = AnyText(random);
    config.data.train_split = i % 2 ? "null" : "...";
    config.model.init_from = AnyText(random);
    config.model.dropout = unit(random);
    config.optimizer.lr = AnyPositive(random);
    config.optimizer.eps = AnyPositive(random);
    config.optimizer.weight_decay = i % 3 == 0 ? 0.0 : AnyPositive(random);
    config.optimizer.betas = {unit(random), std::nextafter(1.0, 0.0)};
    config.schedule.cycles = AnyPositive(random);
    const std::string yaml = ToYaml(config);
    absl::StatusOr<Config> again = ParseConfig(yaml, "other.yaml");
    ASSERT_TRUE(again.ok()) << again.status() << "\n" << yaml;
    ASSERT_EQ(*again, config) << yaml;
    absl::StatusOr<Config> from_json = FromJson(nlohmann::json::parse(ToJson(config).dump()), "state.json");
    ASSERT_TRUE(from_json.ok()) << from_json.status() << "\n" << ToJson(config);
    ASSERT_EQ(*from_json, config) << ToJson(config);
  }
}

TEST(Config, EveryPrintedKeyIsCommented) {
  const std::string yaml = ToYaml(Parsed(""));
  EXPECT_THAT(yaml, HasSubstr("optimizer:\n  # AdamW's peak learning rate. (> 0)\n  lr: 0.001\n"));
  EXPECT_THAT(yaml, HasSubstr("  betas: [0.9,0.999]\n"));
}

TEST(Config, JsonIsNested) {
  const nlohmann::json json = ToJson(Parsed(""));
  EXPECT_EQ(json["model"]["d_model"], 80);
  EXPECT_EQ(json["optimizer"]["betas"], nlohmann::json({0.9, 0.999}));
  EXPECT_FALSE(FromJson(nlohmann::json::array(), "state.json").ok());
}

TEST(Config, MarkdownTableHasARowForEachKey) {
  const std::string table = MarkdownTable();
  const nlohmann::json json = ToJson(Config()).flatten();
  for (const auto& [pointer, value] : json.items()) {
    std::string key = pointer.substr(1, pointer.find_last_not_of("0123456789/"));  // lists: without the index
    std::replace(key.begin(), key.end(), '/', '.');
    EXPECT_THAT(table, HasSubstr("| `" + key + "` | "));
  }
  EXPECT_THAT(table, HasSubstr("| `optimizer.lr` | `0.001` | > 0 | AdamW's peak learning rate. |\n"));
}

TEST(Config, ReadmeShowsTheTable) {
  std::ifstream in(std::filesystem::path(SHIPPED_CONFIGS) / ".." / "README.md");
  std::stringstream readme;
  readme << in.rdbuf();
  const std::string marked = "<!-- config keys: begin -->\n" + MarkdownTable() + "<!-- config keys: end -->";
  EXPECT_THAT(readme.str(), HasSubstr(marked)) << "put this into README.md:\n" << marked;
}

}  // namespace
}  // namespace trainer::config
