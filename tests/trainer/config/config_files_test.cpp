// Files: where they are looked for, and the ones that are shipped.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "trainer/config/config.h"

namespace trainer::config {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class ConfigFiles : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "config-test-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
    working_directory_ = fs::current_path();
    Write("work/other.yaml", "");
    fs::current_path(root_ / "work");
  }
  void TearDown() override {
    fs::current_path(working_directory_);
    fs::remove_all(root_);
  }
  void Write(const std::string& path, const std::string& text) {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  std::string Path(const std::string& path) const { return (root_ / path).string(); }

  fs::path root_;
  fs::path working_directory_;
};

TEST_F(ConfigFiles, WorkingDirectoryThenBesideTheBinaryThenTheInstalledOnes) {
  Write("prefix/share/trainer/configs/simple.yaml", "");
  const std::string binary = Path("prefix/bin/trainer");
  EXPECT_EQ(*FindConfigFile("simple.yaml", binary), Path("prefix/share/trainer/configs/simple.yaml"));
  Write("prefix/bin/configs/simple.yaml", "");
  EXPECT_EQ(*FindConfigFile("simple.yaml", binary), Path("prefix/bin/configs/simple.yaml"));
  Write("work/simple.yaml", "");
  EXPECT_EQ(*FindConfigFile("simple.yaml", binary), "simple.yaml");
  EXPECT_EQ(*FindConfigFile("../work/simple.yaml", binary), "../work/simple.yaml");
}

TEST_F(ConfigFiles, AMissingFileNamesWhatIsThere) {
  Write("prefix/share/trainer/configs/simple.yaml", "");
  Write("prefix/share/trainer/configs/demo.yaml", "");
  absl::StatusOr<std::string> found = FindConfigFile("smiple.yaml", Path("prefix/bin/trainer"));
  EXPECT_EQ(found.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(found.status().message()), HasSubstr("there are demo.yaml, simple.yaml"));
  found = FindConfigFile("./simple.yaml", Path("prefix/bin/trainer"));
  EXPECT_EQ(found.status().code(), absl::StatusCode::kNotFound) << "a path is not looked for elsewhere";
  EXPECT_EQ(FindConfigFile("", "").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(ConfigFiles, WhatCannotBeReadIsAnError) {
  EXPECT_EQ(LoadConfig("nowhere.yaml", {}).status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(LoadConfig(root_.string(), {}).status().message()), HasSubstr("is a folder"));
  Write("work/big.yaml", std::string(2 << 20, '#'));
  EXPECT_THAT(std::string(LoadConfig("big.yaml", {}).status().message()),
              HasSubstr("big.yaml: is larger than 1 MiB"));
}

TEST_F(ConfigFiles, LoadingNamesTheFileAndTheRunFolder) {
  Write("work/mine.yaml", "model:\n  layers: 3\n");
  EXPECT_EQ(LoadConfig("mine.yaml", {"run.seed=5"})->model.layers, 3);
  EXPECT_EQ(LoadConfig(Path("work/mine.yaml"), {})->run.dir, "runs/mine");
  Write("work/mine.yaml", "model:\n  layers: x\n");
  EXPECT_THAT(std::string(LoadConfig("mine.yaml", {}).status().message()),
              HasSubstr("mine.yaml:2: model.layers: "));
}

TEST_F(ConfigFiles, ThisProgramIsFound) { EXPECT_EQ(fs::path(ExecutablePath()).filename(), "config_test"); }

Config Shipped(const std::string& name) {
  absl::StatusOr<Config> config = LoadConfig(std::string(SHIPPED_CONFIGS) + "/" + name, {});
  EXPECT_TRUE(config.ok()) << config.status();
  return config.ok() ? *config : Config();
}

// All keys but those of encoders that `config` does not have.
size_t KeysToMention(const Config& config) {
  const std::string other = config.model.type == "conformer" ? "Transformer: " : "Conformer: ";
  const auto table = MarkdownTable();
  size_t keys = 0;
  for (const auto line : absl::StrSplit(table, '\n')) {
    keys += absl::StartsWith(line, "| `") && !absl::StrContains(line, std::string("| ") + other);
  }
  return keys;
}

TEST(ShippedConfigs, AllLoadPrintReloadAndMentionEveryKey) {
  int files = 0;
  for (const fs::directory_entry& file : fs::directory_iterator(SHIPPED_CONFIGS)) {
    if (file.path().extension() != ".yaml") continue;
    ++files;
    SCOPED_TRACE(file.path());
    const Config config = Shipped(file.path().filename().string());
    EXPECT_EQ(config.run.dir, "runs/" + file.path().stem().string());
    EXPECT_EQ(ParseConfig(ToYaml(config), "x.yaml").value(), config);
    std::ifstream stream(file.path());
    size_t commented = 0;
    for (std::string line; std::getline(stream, line);) {
      if (line.empty() || line[0] != ' ') continue;
      EXPECT_THAT(line, HasSubstr("  # "));
      const std::string_view key = std::string_view(line).substr(0, line.find("  #", line.find(':')));
      commented += key.find_last_not_of(' ') != key.find(':');  // a section within a section is no key
    }
    EXPECT_EQ(commented, KeysToMention(config));
  }
  EXPECT_GE(files, 4);
}

TEST(ShippedConfigs, SimpleIsThePublishedRecipe) {
  Config expected;  // the defaults are the simple model and its recipe
  expected.run.dir = "runs/simple";
  EXPECT_EQ(Shipped("simple.yaml"), expected);
  EXPECT_EQ(expected.schedule.total_steps, 70000);
}

TEST(ShippedConfigs, TheOthersDifferFromSimpleAsDescribed) {
  Config medium;
  medium.run.dir = "runs/medium";
  medium.model.layers = 2;
  medium.model.heads = 1;
  medium.model.feed_forward = 512;
  medium.model.head = "linear";
  EXPECT_EQ(Shipped("medium.yaml"), medium);
  medium.run.dir = "runs/medium-224";
  medium.model.d_model = 224;
  EXPECT_EQ(Shipped("medium-224.yaml"), medium);
  EXPECT_EQ(Shipped("demo.yaml").model, Config().model);
}

}  // namespace
}  // namespace trainer::config
