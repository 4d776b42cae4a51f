#include "trainer/preflight/report.h"

#include <gtest/gtest.h>

namespace trainer::preflight {
namespace {

Report Example() {
  Report report;
  report.Begin("hosts");
  report.Ok("two of them");
  report.Warn("one is slow", "leave it out");
  report.Begin("data");
  report.Error(absl::OkStatus());
  report.Error(absl::NotFoundError("it is not there; look elsewhere"));
  report.figures("data")["speakers"] = 3;
  return report;
}

TEST(ReportTest, ForPeopleALineAFinding) {
  EXPECT_EQ(ToText(Example()),
            "== hosts\n"
            "ok       two of them\n"
            "warning  one is slow; leave it out\n"
            "\n"
            "== data\n"
            "error    it is not there; look elsewhere\n");
}

TEST(ReportTest, ForScripts) {
  const auto json = ToJson(Example());
  EXPECT_EQ(json["result"], "error");
  EXPECT_EQ(json["errors"], 1);
  EXPECT_EQ(json["warnings"], 1);
  ASSERT_EQ(json["findings"].size(), 3u);
  EXPECT_EQ(json["findings"][1]["level"], "warning");
  EXPECT_EQ(json["findings"][1]["section"], "hosts");
  EXPECT_EQ(json["findings"][1]["advice"], "leave it out");
  EXPECT_EQ(json["data"]["speakers"], 3);
}

TEST(ReportTest, WarningsAreNoErrors) {
  Report report;
  EXPECT_EQ(ToJson(report)["result"], "ok");
  report.Warn("hm", "");
  EXPECT_EQ(ToJson(report)["result"], "warning");
}

}  // namespace
}  // namespace trainer::preflight
