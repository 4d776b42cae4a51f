#include "launcher/tool/restart_policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>

namespace launcher::tool {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

Ending Failed(int exit_code) {
  return {.exit_code = exit_code, .made_step = true, .saved = false, .stop_requested = false};
}

TEST(JudgeTest, WhatIsOverIsNotStartedAgain) {
  for (const int code : {0, 2, 75}) {
    for (const bool made_step : {false, true}) {
      for (const bool stop : {false, true}) {
        EXPECT_EQ(Judge({code, made_step, false, stop}, 0, 3), Verdict::kPassOn) << code;
      }
    }
  }
}

TEST(JudgeTest, EveryOtherCodeIsAFailure) {
  for (int code = 1; code < 256; ++code) {
    if (code == 2 || code == 75) continue;
    EXPECT_EQ(Judge(Failed(code), 0, 1), Verdict::kRestart) << code;
  }
}

TEST(JudgeTest, RestartsAreBounded) {
  EXPECT_EQ(Judge(Failed(137), 0, 0), Verdict::kUsedUp);
  EXPECT_EQ(Judge(Failed(137), 2, 3), Verdict::kRestart);
  EXPECT_EQ(Judge(Failed(137), 3, 3), Verdict::kUsedUp);
  EXPECT_EQ(Judge(Failed(137), 4, 3), Verdict::kUsedUp);
}

TEST(JudgeTest, WithoutAStepThereIsNoRestart) {
  EXPECT_EQ(Judge({.exit_code = 137, .made_step = false, .saved = false, .stop_requested = false}, 0, 3),
            Verdict::kNoProgress);
  EXPECT_EQ(Judge({.exit_code = 137, .made_step = false, .saved = false, .stop_requested = false}, 3, 3),
            Verdict::kNoProgress);
}

TEST(JudgeTest, AfterAStopNothingIsStartedAgain) {
  EXPECT_EQ(Judge({.exit_code = 1, .made_step = true, .saved = false, .stop_requested = true}, 0, 3),
            Verdict::kPassOn);
  EXPECT_EQ(Judge({.exit_code = 137, .made_step = false, .saved = false, .stop_requested = true}, 0, 3),
            Verdict::kPassOn);
}

TEST(JudgeTest, ASignalThatCameTooEarlyIsAStopAndNoFailure) {
  EXPECT_EQ(
      Judge({.exit_code = 128 + SIGUSR1, .made_step = false, .saved = false, .stop_requested = true}, 0, 3),
      Verdict::kStopped);
  // A second one came when the ranks had saved and were on their way out.
  EXPECT_EQ(
      Judge({.exit_code = 128 + SIGUSR1, .made_step = true, .saved = true, .stop_requested = true}, 0, 3),
      Verdict::kStopped);
  // It made steps and did not save them.
  EXPECT_EQ(
      Judge({.exit_code = 128 + SIGUSR1, .made_step = true, .saved = false, .stop_requested = true}, 0, 3),
      Verdict::kPassOn);
  // Nobody asked for it.
  EXPECT_EQ(
      Judge({.exit_code = 128 + SIGUSR1, .made_step = false, .saved = false, .stop_requested = false}, 0, 3),
      Verdict::kNoProgress);
}

TEST(BackoffTest, DoublesUpToALimit) {
  EXPECT_EQ(BackoffSeconds(5, 1), 5);
  EXPECT_EQ(BackoffSeconds(5, 2), 10);
  EXPECT_EQ(BackoffSeconds(5, 6), 160);
  EXPECT_EQ(BackoffSeconds(5, 7), kLongestBackoffSeconds);
  EXPECT_EQ(BackoffSeconds(5, 1 << 20), kLongestBackoffSeconds);
  EXPECT_EQ(BackoffSeconds(0, 1 << 20), 0);
}

TEST(PossibleRanksTest, DivideTheBatch) {
  EXPECT_THAT(PossibleRanks(8, 1, 32, 1), ElementsAre(8, 4, 2, 1));
  EXPECT_THAT(PossibleRanks(7, 3, 32, 1), ElementsAre(4));
  EXPECT_THAT(PossibleRanks(8, 5, 24, 1), ElementsAre(8, 6));
  EXPECT_THAT(PossibleRanks(8, 1, 32, 8), ElementsAre(4, 2, 1));
  EXPECT_THAT(PossibleRanks(7, 5, 32, 1), IsEmpty());
}

}  // namespace
}  // namespace launcher::tool
