#include "launcher/stall.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "absl/strings/str_split.h"

namespace launcher::internal {
namespace {

using ::testing::HasSubstr;

enum Phase { kDataWait, kForward, kAllReduceWait, kValidation, kCheckpoint };
const std::vector<std::string> kNames = {"data wait", "forward", "all-reduce wait", "validation",
                                         "checkpoint"};

constexpr double kLimit = 300;

RankState At(int64_t step, int32_t phase, double idle_seconds) {
  RankState rank;
  rank.host = "node7";
  rank.step = step;
  rank.phase = phase;
  rank.part = 0;
  rank.waits = phase == kAllReduceWait;
  rank.idle_seconds = idle_seconds;
  rank.limit_seconds = phase >= kValidation ? 6 * kLimit : kLimit;
  rank.silent_seconds = 1;
  return rank;
}

RankState Silent(RankState rank, double seconds) {
  rank.silent_seconds = seconds;
  return rank;
}

RankState Waiting(RankState rank) {
  rank.waits = true;
  return rank;
}

RankState InBucket(RankState rank, int bucket) {
  rank.sum = bucket;
  return rank;
}

struct Case {
  const char* name;
  std::vector<RankState> ranks;
  int late;  // -1: nobody
  Late why = Late::kStuck;
  int others = 0;
};

class JudgeStallTest : public ::testing::TestWithParam<Case> {};

TEST_P(JudgeStallTest, NamesTheLateRank) {
  const auto stall = JudgeStall(GetParam().ranks);
  ASSERT_EQ(stall.has_value(), GetParam().late >= 0);
  if (!stall) return;
  EXPECT_EQ(stall->rank, GetParam().late);
  EXPECT_EQ(stall->why, GetParam().why);
  EXPECT_EQ(stall->others, GetParam().others);
  EXPECT_GE(stall->seconds, kLimit);
}

const Case kCases[] = {
    {"all_well", {At(5, kForward, 1), At(5, kForward, 2)}, -1},
    {"alone_and_well", {At(5, kDataWait, kLimit - 1)}, -1},
    {"alone_and_stuck", {At(5, kDataWait, kLimit)}, 0},
    {"stopped_ranks_do_not_report",
     {At(5, kAllReduceWait, kLimit), Silent(At(5, kForward, 0), kLimit), At(5, kAllReduceWait, kLimit)},
     1,
     Late::kSilent},
    {"even_where_they_were_ahead",
     {At(5, kAllReduceWait, kLimit), Silent(At(6, kForward, 0), kLimit)},
     1,
     Late::kSilent},
    {"even_where_another_one_is_stuck",
     {At(5, kDataWait, kLimit), Silent(At(5, kForward, 0), kLimit)},
     1,
     Late::kSilent},
    {"rank_0_is_stopped",
     {Silent(At(5, kDataWait, 0), kLimit), At(5, kAllReduceWait, kLimit)},
     0,
     Late::kSilent},
    {"two_are_stopped",
     {At(5, kAllReduceWait, kLimit), Silent(At(5, kForward, 0), kLimit), Silent(At(5, kDataWait, 0), kLimit)},
     2,
     Late::kSilent,
     1},
    {"a_report_is_somewhat_late",
     {At(5, kAllReduceWait, kLimit - 1), Silent(At(5, kForward, 0), kLimit - 1)},
     -1},
    {"silent_for_a_moment",
     {At(5, kAllReduceWait, kLimit), Silent(At(5, kForward, kLimit - 1), kLimit / 3)},
     -1},
    {"who_never_reported", {At(0, kDataWait, kLimit), Silent(RankState(), kLimit)}, 1, Late::kSilent},
    {"who_waits_for_data_is_late_not_who_waits_for_him",
     {At(5, kAllReduceWait, kLimit + 5), At(5, kDataWait, kLimit), At(5, kAllReduceWait, kLimit + 5)},
     1},
    {"the_reverse_order", {At(5, kDataWait, kLimit), At(5, kAllReduceWait, kLimit + 5)}, 0},
    {"stuck_in_work_at_a_later_place_than_those_who_wait",
     {At(5, kAllReduceWait, kLimit), At(6, kDataWait, kLimit)},
     1},
    {"of_two_who_are_stuck_the_one_behind",
     {At(5, kForward, kLimit), At(5, kDataWait, kLimit), At(5, kAllReduceWait, kLimit)},
     1,
     Late::kStuck,
     1},
    {"rank_0_saves_and_may_take_its_time",
     {At(5, kCheckpoint, kLimit + 10), At(6, kAllReduceWait, kLimit + 10)},
     -1},
    {"but_not_for_ever", {At(5, kCheckpoint, 6 * kLimit), At(6, kAllReduceWait, 6 * kLimit)}, 0},
    {"those_who_wait_for_the_save_do_not_blame_themselves",
     {At(5, kCheckpoint, 6 * kLimit), Waiting(At(5, kCheckpoint, 6 * kLimit))},
     0},
    {"long_validation_goes_on_elsewhere",
     {Waiting(At(5, kValidation, 6 * kLimit)), At(5, kValidation, 3)},
     -1},
    {"all_wait_at_one_place",
     {InBucket(At(5, kAllReduceWait, kLimit), 2), InBucket(At(5, kAllReduceWait, kLimit), 2)},
     0,
     Late::kAlike,
     1},
    {"all_wait_but_one_is_a_bucket_behind",
     {InBucket(At(5, kAllReduceWait, kLimit), 2), InBucket(At(5, kAllReduceWait, kLimit), 1),
      InBucket(At(5, kAllReduceWait, kLimit), 2)},
     1,
     Late::kBehind},
    {"who_left_is_not_late",
     {At(9, kCheckpoint, 6 * kLimit),
      [] {
        auto rank = Silent(At(1, kDataWait, kLimit), 10 * kLimit);
        rank.left = true;
        return rank;
      }()},
     0},
    {"no_limit",
     {[] {
       auto rank = At(5, kDataWait, 100 * kLimit);
       rank.limit_seconds = 0;
       return rank;
     }()},
     -1},
};

INSTANTIATE_TEST_SUITE_P(All, JudgeStallTest, ::testing::ValuesIn(kCases),
                         [](const auto& tested) { return std::string(tested.param.name); });

TEST(DescribeStallTest, SaysWhoWhereAndWhat) {
  std::vector<RankState> ranks = {At(12, kAllReduceWait, 301), At(12, kDataWait, 300.4)};
  ranks[1].host = "node9";
  const auto stuck = DescribeStall(*JudgeStall(ranks), ranks, kNames);
  EXPECT_THAT(stuck, HasSubstr("rank 1 on node9 has made no progress for 300 s: step 12, data wait; "));
  ranks[1].silent_seconds = 301;
  EXPECT_THAT(DescribeStall(*JudgeStall(ranks), ranks, kNames), HasSubstr("does not answer"));
  ranks[1] = ranks[0];
  EXPECT_THAT(DescribeStall(*JudgeStall(ranks), ranks, kNames),
              HasSubstr("no rank has made progress for 301 s"));
  ranks[1] = Silent(RankState(), 400);
  EXPECT_THAT(DescribeStall(*JudgeStall(ranks), ranks, kNames),
              HasSubstr("rank 1 has made no progress for 400 s: it has never reported"));
}

TEST(StallToJsonLinesTest, EachLineIsAnObject) {
  std::vector<RankState> ranks = {At(12, kAllReduceWait, 301), At(12, kDataWait, 300)};
  ranks[0].host = "a\"b\xff";
  ranks[1].unix_seconds = 1000;
  ranks[1].nanoseconds = 9'000'000'000;
  ranks[1].events = {{7'000'000'000, 11, kForward, -1}, {8'500'000'000, 12, kDataWait, 0}};
  const auto lines = StallToJsonLines(*JudgeStall(ranks), "what", ranks, kNames);
  std::vector<nlohmann::json> parsed;
  for (const absl::string_view line : absl::StrSplit(lines, '\n', absl::SkipEmpty())) {
    parsed.push_back(nlohmann::json::parse(line));
  }
  ASSERT_EQ(parsed.size(), 5U);
  EXPECT_EQ(parsed[0]["kind"], "stall");
  EXPECT_EQ(parsed[0]["rank"], 1);
  EXPECT_EQ(parsed[0]["message"], "what");
  EXPECT_EQ(parsed[1]["kind"], "rank");
  EXPECT_EQ(parsed[2]["phase"], "data wait");
  EXPECT_EQ(parsed[3]["kind"], "event");
  EXPECT_EQ(parsed[3]["time"], 998.0);
  EXPECT_EQ(parsed[4]["time"], 999.5);
  EXPECT_EQ(parsed[4]["step"], 12);
}

TEST(EventRingTest, KeepsTheLast) {
  EventRing ring;
  EXPECT_TRUE(ring.Last(10).empty());
  for (int i = 0; i < 1000; ++i) ring.Add(i, i % 7, -1);
  const auto last = ring.Last(10);
  ASSERT_EQ(last.size(), 10U);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(last[static_cast<size_t>(i)].step, 990 + i);
  EXPECT_EQ(last.back().phase, 999 % 7);
  EXPECT_EQ(ring.count(), 1000U);
}

TEST(EventRingTest, ReadersSeeNoTornEvents) {
  EventRing ring;
  std::atomic<bool> over{false};
  std::thread reader([&] {
    while (!over) {
      for (const auto& event : ring.Last(64)) {
        ASSERT_EQ(event.step % 2, event.phase);
        ASSERT_EQ(event.step / 2 % 1000, event.part);
      }
    }
  });
  for (int64_t i = 0; i < 400'000; ++i) {
    const auto phase = static_cast<int32_t>(i % 2);
    ring.Add(2 * i + phase, phase, static_cast<int32_t>(i % 1000));
  }
  over = true;
  reader.join();
  EXPECT_EQ(ring.count(), 400'000U);
}

}  // namespace
}  // namespace launcher::internal
