// Every wrong input: one line, naming file, line and key, and saying what to do.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "trainer/config/config.h"

namespace trainer::config {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

std::string ErrorOf(const std::string& text, const std::vector<std::string>& overrides = {}) {
  absl::StatusOr<Config> config = ParseConfig(text, "run.yaml", overrides);
  if (config.ok()) return "no error";
  EXPECT_EQ(config.status().code(), absl::StatusCode::kInvalidArgument);
  const std::string message(config.status().message());
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  return message;
}

TEST(ConfigErrors, UnknownKeysSuggestTheNearest) {
  EXPECT_EQ(ErrorOf("model:\n  headz: 2\n"),
            "run.yaml:2: model.headz: unknown key; did you mean model.heads?");
  EXPECT_EQ(ErrorOf("\n\nlr: 0.1\n"), "run.yaml:3: lr: unknown key; did you mean optimizer.lr?");
  EXPECT_EQ(ErrorOf("train: {weight_decay: 0.1}"),
            "run.yaml:1: train.weight_decay: unknown key; did you mean optimizer.weight_decay?");
  EXPECT_EQ(ErrorOf("optimiser:\n  lr: 1\n"),
            "run.yaml:1: optimiser: unknown key; trainer --config FILE --print-config lists all keys");
  EXPECT_EQ(ErrorOf("zzzzzz: 1\n"),
            "run.yaml:1: zzzzzz: unknown key; trainer --config FILE --print-config lists all keys");
  EXPECT_EQ(ErrorOf("", {"model.layer=3"}),
            "command line: model.layer: unknown key; did you mean model.layers?");
}

TEST(ConfigErrors, DuplicatesNameBothLines) {
  EXPECT_EQ(ErrorOf("model:\n  heads: 2\n  layers: 1\n  heads: 4\n"),
            "run.yaml:4: model.heads: is set twice, first at run.yaml:2; remove one");
  EXPECT_EQ(ErrorOf("model:\n  heads: 2\nmodel.heads: 4\n"),
            "run.yaml:3: model.heads: is set twice, first at run.yaml:2; remove one");
}

TEST(ConfigErrors, WrongTypes) {
  EXPECT_EQ(ErrorOf("model:\n  layers: two\n"), "run.yaml:2: model.layers: 'two' is not a whole number");
  EXPECT_EQ(ErrorOf("model: {layers: 1.5}"), "run.yaml:1: model.layers: '1.5' is not a whole number");
  EXPECT_EQ(ErrorOf("model: {layers: \"2\"}"), "run.yaml:1: model.layers: \"2\" is not a whole number");
  EXPECT_EQ(ErrorOf("model: {layers: }"), "run.yaml:1: model.layers: has no value; give a whole number");
  EXPECT_EQ(ErrorOf("model: {layers: [2]}"), "run.yaml:1: model.layers: [2] is not a whole number");
  EXPECT_EQ(ErrorOf("run: {seed: 99999999999999999999}"),
            "run.yaml:1: run.seed: 99999999999999999999 does not fit 64 bits");
  EXPECT_EQ(ErrorOf("optimizer: {lr: fast}"),
            "run.yaml:1: optimizer.lr: 'fast' is not a finite number; give one, such as 1e-3");
  EXPECT_EQ(ErrorOf("optimizer: {lr: .nan}"),
            "run.yaml:1: optimizer.lr: '.nan' is not a finite number; give one, such as 1e-3");
  EXPECT_EQ(ErrorOf("optimizer: {lr: inf}"),
            "run.yaml:1: optimizer.lr: 'inf' is not a finite number; give one, such as 1e-3");
  EXPECT_EQ(ErrorOf("optimizer: {lr: 1e999}"), "run.yaml:1: optimizer.lr: 1e999 does not fit a double");
  EXPECT_EQ(ErrorOf("data: {path: [a]}"), "run.yaml:1: data.path: [a] is not a string");
  EXPECT_EQ(ErrorOf("data:\n  path:\n    deep: 1\n"),
            "run.yaml:2: data.path: wants a value, not a list of lists or keys of its own");
  EXPECT_THAT(ErrorOf("optimizer: {betas: 0.9}"),
              HasSubstr("'0.9' is not a list of two numbers, as in [0.9, 0.98]"));
  EXPECT_THAT(ErrorOf("optimizer: {betas: [0.9]}"), HasSubstr("[0.9] is not a list of two numbers"));
  EXPECT_THAT(ErrorOf("", {"optimizer.betas=0.9,0.98"}), HasSubstr("is not a list of two numbers"));
  EXPECT_THAT(ErrorOf("", {"optimizer.betas=[0.9,x]"}),
              HasSubstr("command line: optimizer.betas: 'x' is not a finite"));
  EXPECT_EQ(ErrorOf("model: big"), "run.yaml:1: model: is a section; indent its keys below it");
  EXPECT_EQ(ErrorOf("", {"model=big"}), "command line: model: is a section; name one of its keys");
  EXPECT_THAT(ErrorOf("data: {path: \"\\xff\"}", {"run.dir=\xff"}), HasSubstr("is not valid UTF-8"));
}

TEST(ConfigErrors, ImpossibleValues) {
  EXPECT_EQ(ErrorOf("optimizer: {lr: 0}"), "run.yaml:1: optimizer.lr: 0 is not allowed; it must be > 0");
  EXPECT_EQ(ErrorOf("optimizer: {betas: [0.9, 1]}"),
            "run.yaml:1: optimizer.betas: 1 is not allowed; it must be in [0, 1)");
  EXPECT_EQ(ErrorOf("model:\n  activation: rleu\n"),
            "run.yaml:2: model.activation: 'rleu' is not one of relu, gelu; did you mean relu?");
  EXPECT_EQ(ErrorOf("model:\n  activation: swish\n"),
            "run.yaml:2: model.activation: 'swish' is not one of relu, gelu");
  for (const char* bad : {"optimizer.lr=-1",
                          "optimizer.eps=0",
                          "optimizer.weight_decay=-0.1",
                          "optimizer.clip_norm=-1",
                          "optimizer.betas=[-0.1,0.9]",
                          "model.dropout=1",
                          "model.dropout=-0.1",
                          "model.layers=0",
                          "model.d_model=0",
                          "model.heads=0",
                          "model.feed_forward=0",
                          "schedule.warmup_steps=-1",
                          "schedule.total_steps=0",
                          "schedule.cycles=-1",
                          "train.global_batch=0",
                          "train.accumulate=0",
                          "train.log_every=0",
                          "train.validate_every=-1",
                          "train.threads=-1",
                          "train.bucket_mib=0",
                          "train.first_bucket_mib=0",
                          "checkpoint.every=-1",
                          "checkpoint.keep=0",
                          "run.seed=-1",
                          "data.crop_frames=0",
                          "data.prefetch_batches=0"}) {
    EXPECT_THAT(ErrorOf("", {bad}), HasSubstr("is not allowed; it must be ")) << bad;
  }
}

TEST(ConfigErrors, ValuesThatDoNotGoTogether) {
  EXPECT_EQ(ErrorOf("model:\n  d_model: 80\n  heads: 3\n"),
            "run.yaml:3: model.heads: 3 does not divide model.d_model (80); change one of the two");
  EXPECT_EQ(ErrorOf("model:\n  d_model: 81\n"),
            "run.yaml:2: model.heads: 2 does not divide model.d_model (81); change one of the two");
  EXPECT_EQ(ErrorOf("model:\n  d_model: 80\n", {"model.heads=3"}),
            "command line: model.heads: 3 does not divide model.d_model (80); change one of the two");
  EXPECT_EQ(
      ErrorOf("", {"train.global_batch=30", "train.accumulate=4"}),
      "command line: train.accumulate: 4 does not divide train.global_batch (30); change one of the two");
}

TEST(ConfigErrors, NotYaml) {
  EXPECT_THAT(ErrorOf("model:\n  heads: [2\n"), StartsWith("run.yaml:3: not valid YAML at column 1: "));
  EXPECT_THAT(ErrorOf("model:\n  heads: 2\n layers: 1\n"), StartsWith("run.yaml:3: not valid YAML"));
  EXPECT_THAT(ErrorOf("a: @x\n"), HasSubstr("check the indentation, the colons and the quotes"));
  EXPECT_THAT(ErrorOf("a: *nowhere\n"), HasSubstr("run.yaml:1: not valid YAML"));
  EXPECT_THAT(ErrorOf("- 1\n- 2\n"), HasSubstr("run.yaml: is not a configuration"));
  EXPECT_THAT(ErrorOf("hello"), HasSubstr("run.yaml: is not a configuration"));
  EXPECT_THAT(ErrorOf("run: {seed: 1}\n---\nrun: {seed: 2}\n"), HasSubstr("more than one YAML document"));
  EXPECT_EQ(ErrorOf("? [a, b]\n: 1\n"), "run.yaml:1: a key must be a plain word");
}

TEST(ConfigErrors, Overrides) {
  EXPECT_EQ(ErrorOf("", {"lr"}),
            "command line: 'lr': write an override as key=value, e.g. optimizer.lr=5e-4");
  EXPECT_EQ(ErrorOf("", {"=3"}),
            "command line: '=3': write an override as key=value, e.g. optimizer.lr=5e-4");
  EXPECT_EQ(ErrorOf("", {"optimizer.lr="}), "command line: optimizer.lr: has no value; give a number");
}

TEST(ConfigErrors, LineBreaksInTheInputStayOutOfTheMessage) {
  EXPECT_THAT(ErrorOf("\"a\\nb\": 1\n"), HasSubstr("unknown key"));
  EXPECT_THAT(ErrorOf("model: {activation: \"a\\nb\"}\n"), HasSubstr("is not one of relu, gelu"));
  EXPECT_THAT(ErrorOf("", {"a\nb=1"}), HasSubstr("unknown key"));
  EXPECT_THAT(ErrorOf("", {"a\nb"}), HasSubstr("key=value"));
  EXPECT_THAT(ErrorOf("", {"optimizer.lr=1\n2"}), HasSubstr("is not a finite number"));
  EXPECT_THAT(ErrorOf("", {"model.layers=1\n2"}), HasSubstr("is not a whole number"));
}

TEST(ConfigErrors, AnyBytesGiveAStatus) {
  const uint64_t seed = 77;
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  const std::string good = ToYaml(Config());
  int errors = 0;
  for (int i = 0; i < 3000; ++i) {
    std::string text = good;
    for (size_t changes = 1 + random() % 4; changes > 0; --changes) {
      text[random() % text.size()] = static_cast<char>(random());
    }
    if (i % 10 == 0) text.resize(random() % text.size());
    absl::StatusOr<Config> config = ParseConfig(text, "run.yaml");
    if (config.ok()) continue;
    ++errors;
    ASSERT_THAT(std::string(config.status().message()), Not(HasSubstr("\n")));
    ASSERT_THAT(std::string(config.status().message()), StartsWith("run.yaml"));
  }
  EXPECT_GT(errors, 300);
}

TEST(ConfigErrors, DeepNestingIsAnErrorNotAnOverflow) {
  EXPECT_THAT(ErrorOf(std::string(100000, '[')), StartsWith("run.yaml"));
  EXPECT_THAT(ErrorOf(std::string(100000, '{')), StartsWith("run.yaml"));
  std::string maps;
  for (int depth = 0; depth < 1000; ++depth) maps += std::string(static_cast<size_t>(depth), ' ') + "a:\n";
  EXPECT_THAT(ErrorOf(maps), StartsWith("run.yaml"));
}

}  // namespace
}  // namespace trainer::config
