#include "trainer/preflight/ranks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

namespace trainer::preflight {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(NameRanksTest, NamesRunsAndHosts) {
  const std::vector<std::string> hosts = {"a", "a", "b", "b", "c", "c"};
  EXPECT_EQ(NameRanks({3}, hosts), "rank 3 on b");
  EXPECT_EQ(NameRanks({0, 1, 2, 5}, hosts), "ranks 0-2, 5 on a, b, c");
  EXPECT_EQ(NameRanks({1, 3}, hosts), "ranks 1, 3 on a, b");
}

TEST(GroupByValueTest, MostCommonFirst) {
  const auto groups = GroupByValue({"old", "new", "new", "old", "new"});
  ASSERT_EQ(groups.size(), 2u);
  EXPECT_EQ(groups[0].value, "new");
  EXPECT_THAT(groups[0].ranks, ElementsAre(1, 2, 4));
  EXPECT_THAT(groups[1].ranks, ElementsAre(0, 3));
}

TEST(GroupByValueTest, OfEquallyCommonTheLowerRank) {
  const auto groups = GroupByValue({"x", "a"});
  EXPECT_EQ(groups[0].value, "x");
  EXPECT_EQ(groups[1].value, "a");
}

std::vector<int64_t> Slow(const std::vector<double>& speeds) {
  std::vector<int64_t> ranks;
  for (const auto& slow : FindSlowRanks(speeds)) ranks.push_back(slow.rank);
  return ranks;
}

TEST(FindSlowRanksTest, BelowFourFifthsOfTheMedian) {
  EXPECT_THAT(Slow({88, 90, 41, 87, 71}), ElementsAre(2));
  EXPECT_THAT(Slow({100, 81, 80, 79.9, 100, 100, 100}), ElementsAre(3));
  const auto slow = FindSlowRanks({88, 90, 41});
  ASSERT_EQ(slow.size(), 1u);
  EXPECT_EQ(slow[0].speed, 41);
  EXPECT_EQ(slow[0].median, 88);
}

TEST(FindSlowRanksTest, OfTwoTheSlowerIsMeasuredByTheFaster) {
  EXPECT_THAT(Slow({100, 79}), ElementsAre(1));
  EXPECT_THAT(Slow({79, 100}), ElementsAre(0));
  EXPECT_THAT(Slow({100, 81}), IsEmpty());
}

TEST(FindSlowRanksTest, WhatIsNotKnownIsNotSlow) {
  const double unknown = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THAT(Slow({unknown, unknown}), IsEmpty());
  EXPECT_THAT(Slow({unknown, 100, 50, 100}), ElementsAre(2));
  EXPECT_THAT(Slow({}), IsEmpty());
}

TEST(FormatTest, Bytes) {
  EXPECT_EQ(FormatBytes(0), "0 B");
  EXPECT_EQ(FormatBytes(999), "999 B");
  EXPECT_EQ(FormatBytes(4096), "4.10 KB");
  EXPECT_EQ(FormatBytes(65536), "65.5 KB");
  EXPECT_EQ(FormatBytes(123.4e6), "123 MB");
  EXPECT_EQ(FormatBytes(999.9e6), "1.00 GB");
}

TEST(FormatTest, Counts) {
  EXPECT_EQ(FormatCount(0), "0");
  EXPECT_EQ(FormatCount(999), "999");
  EXPECT_EQ(FormatCount(1000), "1,000");
  EXPECT_EQ(FormatCount(5812345), "5,812,345");
}

}  // namespace
}  // namespace trainer::preflight
