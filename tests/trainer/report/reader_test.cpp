#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/trainer/report/run_folder.h"
#include "trainer/report/evaluation_reader.h"
#include "trainer/report/run_reader.h"

namespace trainer::report {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

Run Read(const RunFolder& folder) {
  auto run = ReadRun(folder.path());
  EXPECT_TRUE(run.ok()) << run.status();
  return *std::move(run);
}

TEST(ReadRun, WhatIsNoRunFolderIsOneLine) {
  RunFolder folder;
  for (const auto& [path, words] : {std::pair{folder.path(), "neither metrics.jsonl nor config.yaml"},
                                    std::pair{folder.path("nowhere"), "is not there"},
                                    std::pair{folder.Write("file", "x").path("file"), "is no folder"}}) {
    const auto run = ReadRun(path);
    EXPECT_EQ(run.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(run.status().message()), HasSubstr(words));
    EXPECT_THAT(std::string(run.status().message()), HasSubstr(path));
    EXPECT_EQ(run.status().message().find('\n'), std::string::npos);
  }
}

TEST(ReadRun, ATornLastLineIsNotThere) {
  RunFolder folder;
  folder.Write("metrics.jsonl", "{\"step\":10,\"loss\":3.5}\n{\"step\":20,\"loss\":2.5}\n{\"step\":30,\"lo");
  const auto run = Read(folder);
  EXPECT_THAT(run.metrics.steps, ElementsAre(10, 20));
  EXPECT_THAT(run.metrics.columns.at("loss"), ElementsAre(3.5, 2.5));
  EXPECT_THAT(run.problems, IsEmpty());
}

TEST(ReadRun, ALastLineThatLacksOnlyItsEndCounts) {
  RunFolder folder;
  folder.Write("metrics.jsonl", "{\"step\":10,\"loss\":3.5}");
  EXPECT_THAT(Read(folder).metrics.steps, ElementsAre(10));
}

TEST(ReadRun, BadLinesInTheMiddleAreCounted) {
  RunFolder folder;
  folder.Write("metrics.jsonl", std::string("{\"step\":1,\"loss\":1}\n") +
                                    "{\"step\":2,\"loss\":NaN}\n" +  // no JSON
                                    std::string(1, '\0') + "\xff\xfe{]\n" + "{\"step\":-3}\n" +
                                    "{\"step\":18446744073709551615}\n" +  // no int64
                                    "{\"step\":1e99}\n" + "{\"step\":\"4\"}\n" + "[5]\n" +
                                    "{\"loss\":7}\n\n" + "{\"step\":8,\"loss\":8}\n");
  const auto run = Read(folder);
  EXPECT_THAT(run.metrics.steps, ElementsAre(1, 8));
  EXPECT_EQ(run.metrics.unreadable_lines, 8);
  EXPECT_THAT(run.problems, ElementsAre(HasSubstr("8 lines")));
}

TEST(ReadRun, WhatIsNoNumberIsAbsent) {
  RunFolder folder;
  folder.Write("metrics.jsonl",
               "{\"step\":1,\"loss\":null,\"accuracy\":\"x\",\"busy_seconds\":3}\n"
               "{\"step\":2,\"loss\":2,\"busy_seconds\":{\"min\":1,\"max\":[]},\"unknown\":5,"
               "\"slowest_host\":7}\n"
               "{\"step\":3}\n");
  const auto metrics = Read(folder).metrics;
  EXPECT_EQ(metrics.steps.size(), 3u);
  ASSERT_TRUE(metrics.columns.contains("loss"));
  const auto& loss = metrics.columns.at("loss");
  EXPECT_TRUE(std::isnan(loss[0]) && loss[1] == 2 && std::isnan(loss[2]));
  EXPECT_EQ(metrics.columns.at("busy_seconds.min")[1], 1);
  for (const char* name : {"accuracy", "busy_seconds.max", "unknown"}) {
    EXPECT_FALSE(metrics.columns.contains(name)) << name;
  }
  EXPECT_THAT(metrics.slowest_hosts, ElementsAre("", "", ""));
}

TEST(ReadRun, OfAStepThatIsThereTwiceTheLaterCounts) {
  RunFolder folder;
  folder.Write("metrics.jsonl",
               "{\"step\":1,\"loss\":1}\n{\"step\":2,\"loss\":2}\n{\"step\":3,\"loss\":3}\n"
               "{\"step\":2,\"loss\":20,\"accuracy\":0.5}\n{\"step\":4,\"loss\":4}\n");
  const auto metrics = Read(folder).metrics;
  EXPECT_THAT(metrics.steps, ElementsAre(1, 2, 4));
  EXPECT_THAT(metrics.columns.at("loss"), ElementsAre(1, 20, 4));
  EXPECT_EQ(metrics.columns.at("accuracy").size(), 3u);
}

TEST(ReadRun, OtherFilesMayBeMissingOrDamaged) {
  RunFolder folder;
  folder.Write("metrics.jsonl", "");
  auto run = Read(folder);
  EXPECT_THAT(run.metrics.steps, IsEmpty());
  EXPECT_THAT(run.problems, IsEmpty());
  folder.Write("summary.json", "{\"end\":")
      .Write("config.yaml", "model: {a: [1, 2\n\tb")
      .Write("starts.jsonl", "{\"from_step\":0}\n[1]\nnonsense\n{\"from_step\":40}\n{\"fro");
  run = Read(folder);
  EXPECT_TRUE(run.summary.is_null());
  EXPECT_EQ(run.starts.size(), 2u);
  EXPECT_THAT(run.problems, ElementsAre(HasSubstr("config.yaml"), HasSubstr("summary.json")));
}

TEST(FlattenYaml, SectionsInSectionsAndLists) {
  const auto config = FlattenYaml(
      "run: {dir: \"a b\", seed: 1}\nmetrics:\n  prometheus:\n    address: \"\"\n"
      "optimizer:\n  betas: [0.9,0.98]\nlone: ~\n");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_THAT(*config, ElementsAre(Pair("run.dir", "a b"), Pair("run.seed", "1"),
                                   Pair("metrics.prometheus.address", ""),
                                   Pair("optimizer.betas", "[0.9, 0.98]"), Pair("lone", "")));
  EXPECT_EQ(ValueOf(*config, "run.seed"), "1");
  EXPECT_EQ(ValueOf(*config, "run.none"), "");
  EXPECT_FALSE(FlattenYaml("just words").ok());
  EXPECT_FALSE(FlattenYaml(std::string(100000, '[')).ok());
  EXPECT_FALSE(FlattenYaml("a: &x [*x]\n? [1, 2]\n: 3").ok());
}

constexpr char kSpeakers[] =
    "speaker,utterances,correct,accuracy,confused_with,confusions\n"
    "ann,4,3,0.750000,eve,1\n"
    "eve,3,0,0.000000,\"bob, jr\",2\n";
constexpr char kMatrix[] =
    "speaker,ann,\"bob, jr\",eve,unused\n"
    "ann,3,0,1,0\n"
    "eve,1,2,0,0\n";

TEST(ReadEvaluation, Tables) {
  RunFolder folder;
  EXPECT_TRUE(absl::IsNotFound(ReadEvaluation(folder.path()).status()));
  folder.Write("speakers.csv", kSpeakers)
      .Write("confusion.csv", kMatrix)
      .Write("evaluation.json", "{\"accuracy\":0.5}\n");
  const auto evaluation = ReadEvaluation(folder.path());
  ASSERT_TRUE(evaluation.ok()) << evaluation.status();
  EXPECT_EQ(evaluation->figures["accuracy"], 0.5);
  ASSERT_EQ(evaluation->speakers.size(), 2u);
  EXPECT_EQ(evaluation->speakers[1].confused_with, "bob, jr");
  EXPECT_EQ(evaluation->speakers[1].confusions, 2);
  EXPECT_THAT(evaluation->columns, ElementsAre("ann", "eve", "bob, jr"));
  int64_t total = 0;
  for (const auto& cell : evaluation->cells) total += cell.count;
  EXPECT_EQ(total, 7);
  ASSERT_EQ(evaluation->cells.size(), 4u);
  EXPECT_EQ(evaluation->cells[3].row, 1u);
  EXPECT_EQ(evaluation->cells[3].column, 2u);
  EXPECT_EQ(evaluation->cells[3].count, 2);
}

TEST(ReadEvaluation, DamagedTables) {
  for (const auto& [name, text] :
       {std::pair{"speakers.csv", ""}, std::pair{"speakers.csv", "a,b\n1,2\n"},
        std::pair{"speakers.csv",
                  "speaker,utterances,correct,accuracy,confused_with,confusions\na,0,0,0,,0\n"},
        std::pair{"speakers.csv",
                  "speaker,utterances,correct,accuracy,confused_with,confusions\na,1,2,0,,0\n"},
        std::pair{"speakers.csv", "speaker,utterances,correct,accuracy,confused_with,confusions\n\"a,1\n"},
        std::pair{"confusion.csv", "speaker,ann\nann,1\n"},
        std::pair{"confusion.csv", "speaker,ann,eve\nann,3,-1\neve,1,2\n"},
        std::pair{"confusion.csv", "speaker,ann,eve\neve,3,1\nann,1,2\n"}}) {
    RunFolder folder;
    folder.Write("speakers.csv", kSpeakers).Write("confusion.csv", kMatrix).Write(name, text);
    const auto evaluation = ReadEvaluation(folder.path());
    EXPECT_EQ(evaluation.status().code(), absl::StatusCode::kDataLoss) << text;
    EXPECT_THAT(std::string(evaluation.status().message()), HasSubstr(folder.path(name))) << text;
  }
}

TEST(WhyStale, ComparesWithTheBestCheckpoint) {
  RunFolder run;
  const auto why = [&](const char* figures) {
    Evaluation evaluation;
    evaluation.figures = nlohmann::json::parse(figures);
    return WhyStale(evaluation, run.path());
  };
  EXPECT_EQ(why("{\"step\":100}"), "") << "there is nothing to compare with";
  run.Write("checkpoints/best/state.json", "{\"step\":200,\"checksums\":{\"model.safetensors\":\"ab\"}}");
  EXPECT_EQ(why("{\"step\":200,\"model_checksum\":\"ab\"}"), "");
  EXPECT_THAT(why("{\"step\":100,\"model_checksum\":\"ab\"}"), HasSubstr("the best is now step 200"));
  EXPECT_THAT(why("{\"step\":200,\"model_checksum\":\"cd\"}"), HasSubstr("another model"));
  EXPECT_THAT(why("null"), HasSubstr("does not say"));
}

}  // namespace
}  // namespace trainer::report
