#include "trainer/report/document.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "trainer/report/curve.h"
#include "trainer/report/page.h"
#include "trainer/report/run_time.h"

namespace trainer::report {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

TEST(ThinCurve, KeepsAllPointsWhereTheyAreFew) {
  const auto curve = ThinCurve({1, 2, 3, 4}, {5, kNan, 7, INFINITY}, 100);
  EXPECT_THAT(curve.steps, ElementsAre(1, 3));
  EXPECT_THAT(curve.values, ElementsAre(5, 7));
  EXPECT_FALSE(curve.thinned());
}

TEST(ThinCurve, KeepsExtremesAndMeans) {
  std::vector<int64_t> steps;
  std::vector<double> values;
  for (int64_t i = 0; i < 70000; ++i) {
    steps.push_back(i + 1);
    values.push_back(std::sin(static_cast<double>(i) / 9000));
  }
  values[31234] = 50;
  values[31236] = -40;
  const auto curve = ThinCurve(steps, values, 1000);
  EXPECT_LE(curve.steps.size(), 1002u);
  EXPECT_TRUE(std::is_sorted(curve.steps.begin(), curve.steps.end()));
  EXPECT_EQ(std::adjacent_find(curve.steps.begin(), curve.steps.end()), curve.steps.end());
  EXPECT_EQ(curve.steps.front(), 1);
  EXPECT_EQ(curve.steps.back(), 70000);
  for (size_t i = 0; i < curve.steps.size(); ++i) {
    EXPECT_EQ(curve.values[i], values[static_cast<size_t>(curve.steps[i]) - 1]) << "no point is made up";
  }
  EXPECT_EQ(*std::max_element(curve.values.begin(), curve.values.end()), 50);
  EXPECT_EQ(*std::min_element(curve.values.begin(), curve.values.end()), -40);
  ASSERT_EQ(curve.mean_values.size(), 500u);
  EXPECT_NEAR(curve.mean_values[100], std::sin(curve.mean_steps[100] / 9000), 1e-3);
}

Metrics Example() {
  Metrics metrics;
  metrics.steps = {10, 20, 40};
  metrics.slowest_hosts = {"a", "b", "b"};
  metrics.columns = {
      {"step_seconds", {1, 1, 2}},
      {"data_wait_seconds", {0.25, 0.25, 1}},
      {"forward_seconds", {0.5, 0.5, 0.5}},
      {"validation_seconds", {kNan, 0.5, kNan}},
      {"loss", {3, kNan, 1}},
      {"valid_loss", {kNan, 2, 3}},
      {"valid_accuracy", {kNan, 0.5, 0.5}},
      {"slowest_rank", {0, 1, 1}},
      {"busy_seconds.max", {1, 1.5, 2.5}},
      {"busy_seconds.median", {1, 1, 2}},
      {"utterances_per_second", {7, 9, 8}},
  };
  return metrics;
}

TEST(RunTime, ElapsedCountsStepsAndWhatComesBetweenThem) {
  EXPECT_THAT(ElapsedSeconds(Example()), ElementsAre(10, 25, 65));
}

TEST(RunTime, PhasesAreWeightedByTheirSteps) {
  const auto history = PhasesOf(Example(), 100);
  EXPECT_THAT(history.names, ElementsAre("data_wait", "forward", "validation", "other"));
  EXPECT_THAT(history.steps, ElementsAre(10, 20, 40));
  EXPECT_THAT(history.total_seconds, ElementsAre(25, 20, 5, 15));
  EXPECT_THAT(history.seconds_a_step[1], ElementsAre(0.25, 0.5, 0.5, 0.25));
  const auto whole = PhasesOf(Example(), 1);
  ASSERT_EQ(whole.seconds_a_step.size(), 1u);
  EXPECT_THAT(whole.seconds_a_step[0][0], DoubleNear(25.0 / 40, 1e-12));
  EXPECT_THAT(PhasesOf(Metrics(), 5).names, ElementsAre());
}

TEST(Document, FiguresAndCurvesOfARun) {
  ReportedRun reported;
  reported.run.folder = "runs/one";
  reported.run.metrics = Example();
  const auto document = BuildDocument({reported}, "trainer 1", 5);
  const auto& run = document["runs"][0];
  EXPECT_EQ(run["label"], "one");
  EXPECT_EQ(run["logged"], 3);
  EXPECT_EQ(run["figures"]["steps"], 40);
  EXPECT_EQ(run["figures"]["loss"], 1);
  EXPECT_EQ(run["figures"]["utterances_per_second"], 8);
  EXPECT_EQ(run["figures"]["best"]["step"], 20) << "of equal accuracies the lower loss";
  EXPECT_FALSE(run["curves"]["step_seconds"].contains("x")) << "x is shared";
  EXPECT_EQ(run["curves"]["loss"]["x"], nlohmann::json({10, 40}));
  EXPECT_EQ(run["curves"]["data_wait_share"]["y"], nlohmann::json({0.25, 0.25, 0.5}));
  EXPECT_EQ(run["curves"]["slowest_rank_lag"]["y"], nlohmann::json({0.0, 0.5, 0.25}));
  EXPECT_FALSE(run["curves"].contains("gradient_norm"));
  EXPECT_FALSE(run["curves"].contains("update_ratio"));
  EXPECT_EQ(run["stragglers"][0]["rank"], 1);
  EXPECT_EQ(run["stragglers"][0]["host"], "b");
  EXPECT_NEAR(run["stragglers"][0]["share"], 2.0 / 3, 1e-5);
  EXPECT_NEAR(run["stragglers"][0]["lag"], 0.375, 1e-5);
  EXPECT_TRUE(run["evaluation"].is_null());
}

TEST(Document, ConfigurationsSideBySideWithDefaults) {
  std::vector<ReportedRun> runs(2);
  runs[0].run.folder = "a";
  runs[1].run.folder = "b";
  runs[0].run.config = {{"optimizer.lr", "0.5"}, {"gone.key", "1"}};
  runs[1].run.config = {{"optimizer.lr", "0.25"}, {"loss.type", "cross_entropy"}};
  const auto config = BuildDocument(runs, "", 0)["config"];
  ASSERT_EQ(config.size(), 3u);
  EXPECT_EQ(config[0], nlohmann::ordered_json::parse(
                           R"({"key":"optimizer.lr","values":["0.5","0.25"],"default":"0.001"})"));
  EXPECT_EQ(config[1],
            nlohmann::ordered_json::parse(R"({"key":"gone.key","values":["1",null],"default":null})"));
  EXPECT_EQ(config[2]["default"], "cross_entropy");
}

TEST(Document, StaysSmallHoweverLongTheRun) {
  ReportedRun reported;
  reported.run.folder = "long";
  auto& metrics = reported.run.metrics;
  constexpr int kLines = 70000;
  for (int64_t i = 1; i <= kLines; ++i) metrics.steps.push_back(100 * i);
  metrics.slowest_hosts.resize(kLines);
  uint64_t random = 1;
  for (const char* name :
       {"loss", "accuracy", "learning_rate", "gradient_norm", "weight_norm", "update_norm", "step_seconds",
        "data_wait_seconds", "forward_seconds", "backward_seconds", "exposed_communication_seconds",
        "optimizer_seconds", "utterances_per_second", "bus_bandwidth_bytes_per_second", "slowest_rank",
        "model_flops_utilization", "host_memory_bytes", "busy_seconds.max", "busy_seconds.median"}) {
    auto& column = metrics.columns[name];
    for (int i = 0; i < kLines; ++i) {
      random = random * 6364136223846793005u + 1442695040888963407u;
      column.push_back(static_cast<double>(random >> 40) / 1e7);
    }
  }
  EXPECT_LT(RenderPage(BuildDocument({reported}, "", 0), "").size(), 2e6);
  std::vector<ReportedRun> five(5, reported);
  EXPECT_LT(RenderPage(BuildDocument(five, "", 0), "").size(), 3e6);
}

TEST(Document, SpeakersByAccuracyAndPairsByCount) {
  ReportedRun reported;
  reported.run.folder = "x";
  auto& evaluation = reported.evaluation.emplace();
  evaluation.speakers = {{"good", 4, 4, "", 0}, {"bad", 4, 1, "good", 2}, {"middling", 8, 4, "bad", 4}};
  const auto json = BuildDocument({reported}, "", 0)["runs"][0]["evaluation"];
  EXPECT_EQ(json["hardest"][0][0], "bad");
  EXPECT_EQ(json["hardest"][2][0], "good");
  ASSERT_EQ(json["pairs"].size(), 2u);
  EXPECT_EQ(json["pairs"][0][0], "middling");
  EXPECT_FALSE(json.contains("matrix"));
}

TEST(Labels, AsShortAsTheyCanDiffer) {
  EXPECT_THAT(Labels({"runs/one/"}), ElementsAre("one"));
  EXPECT_THAT(Labels({"/r/a/seed1", "/r/b/seed1"}), ElementsAre("a/seed1", "b/seed1"));
  EXPECT_THAT(Labels({"x", "y/x"}), ElementsAre("x", "y/x"));
  EXPECT_THAT(Labels({"/"}), ElementsAre("/"));
}

}  // namespace
}  // namespace trainer::report
