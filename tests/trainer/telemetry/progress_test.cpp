#include "trainer/telemetry/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace trainer::telemetry {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

Progress HalfWay() {
  Progress progress;
  progress.step = 500;
  progress.total_steps = 1000;
  progress.loss = 0.25;
  progress.accuracy = 0.875;
  progress.learning_rate = 1e-3;
  progress.utterances_per_second = 571;
  progress.wait = 0.012;
  progress.seconds_left = 75;
  return progress;
}

TEST(ProgressLine, SaysAllWhereThereIsRoom) {
  EXPECT_EQ(ProgressLine(HalfWay(), 200),
            "[###############...............]  50% 500/1000 left 1m15s loss 0.250 acc 88% lr 1e-03 571 utt/s "
            "wait 1%");
}

TEST(ProgressLine, NeverIsLongerThanTheTerminal) {
  for (int columns = 0; columns < 200; ++columns) {
    EXPECT_LE(static_cast<int>(ProgressLine(HalfWay(), columns).size()), columns);
  }
}

TEST(ProgressLine, LeavesOutTheLastFiguresFirst) {
  auto progress = HalfWay();
  progress.step = 35'000;
  progress.total_steps = 70'000;
  EXPECT_THAT(ProgressLine(progress, 80), HasSubstr("wait 1%"));  // all of a long run, on a usual terminal
  const auto line = ProgressLine(progress, 64);
  EXPECT_THAT(line, StartsWith("[##"));
  EXPECT_THAT(line, HasSubstr("loss 0.250"));
  EXPECT_THAT(line, Not(HasSubstr("wait")));
  EXPECT_THAT(ProgressLine(HalfWay(), 30), StartsWith(" 50% 500/1000"));
}

TEST(ProgressLine, TheBarIsFullAtTheEndAlone) {
  auto progress = HalfWay();
  progress.step = 999;
  EXPECT_THAT(ProgressLine(progress, 100), HasSubstr(".]"));
  progress.step = 1000;
  EXPECT_THAT(ProgressLine(progress, 100), HasSubstr("#]"));
}

}  // namespace
}  // namespace trainer::telemetry
