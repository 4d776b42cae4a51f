// docs/metrics.md has the table that the exporter serves from.
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>

#include "trainer/telemetry/prometheus_metrics.h"

namespace trainer::telemetry {
namespace {

TEST(MetricsTable, IsInTheDocumentation) {
  std::ifstream file(METRICS_DOC);
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  ASSERT_TRUE(file) << METRICS_DOC;
  const std::string begin = "<!-- metrics: begin -->\n", end = "<!-- metrics: end -->";
  const size_t from = text.find(begin), to = text.find(end);
  ASSERT_NE(from, std::string::npos);
  ASSERT_NE(to, std::string::npos);
  EXPECT_EQ(text.substr(from + begin.size(), to - from - begin.size()), MetricsTable())
      << "put the table between the marks in docs/metrics.md";
}

// The counters are there from the start, at 0: increase() does not see the first event otherwise.
TEST(MetricsTable, CountersStartAtZero) {
  RunView run;
  run.run = "r";
  for (const auto& family : MetricFamilies(run)) {
    for (const auto& metric : family.metric) {
      if (family.type == prometheus::MetricType::Counter) {
        EXPECT_EQ(metric.counter.value, 0) << family.name;
      }
    }
  }
  const std::string text = MetricsText(MetricFamilies(run));
  EXPECT_NE(text.find("trainer_nonfinite_steps_total{run=\"r\"} 0\n"), std::string::npos) << text;
  EXPECT_EQ(text.find("timestamp_seconds"), std::string::npos) << "no moment is known yet\n" << text;
  EXPECT_EQ(text.find("trainer_loss"), std::string::npos) << "nor a loss\n" << text;
}

}  // namespace
}  // namespace trainer::telemetry
