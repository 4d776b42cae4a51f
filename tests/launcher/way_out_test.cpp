// How a world ends when one rank is in trouble: at once, with one line, and with the exit code it gave.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <chrono>
#include <cstdio>
#include <string>

#include "absl/strings/str_cat.h"

namespace launcher {
namespace {

using ::testing::MatchesRegex;

struct Outcome {
  int exit_code = -1;
  std::string output;  // stdout and stderr
  double seconds = 0;
};

Outcome RunCommand(const std::string& command) {
  Outcome outcome;
  const auto start = std::chrono::steady_clock::now();
  FILE* pipe = popen(absl::StrCat(command, " 2>&1").c_str(), "r");
  if (pipe == nullptr) return outcome;
  char buffer[4096];
  while (const size_t bytes = std::fread(buffer, 1, sizeof(buffer), pipe))
    outcome.output.append(buffer, bytes);
  const int status = pclose(pipe);
  if (WIFEXITED(status)) outcome.exit_code = WEXITSTATUS(status);
  outcome.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return outcome;
}

Outcome RunRanks(int ranks, const std::string& trouble) {
  return RunCommand(absl::StrCat(MPIRUN_COMMAND, " -n ", ranks, " ", WORKER, " ", trouble));
}

class WayOutTest : public ::testing::TestWithParam<int> {};

TEST_P(WayOutTest, NoTroubleNoWords) {
  const Outcome outcome = RunRanks(GetParam(), "none");
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_EQ(outcome.output, "");
}

TEST_P(WayOutTest, AnExceptionOnOneRankIsOneLineAndEndsAll) {
  const Outcome outcome = RunRanks(GetParam(), "throws");
  EXPECT_EQ(outcome.exit_code, 9);
  EXPECT_THAT(outcome.output, MatchesRegex(absl::StrCat("rank ", GetParam() - 1, " on [^\n:]+: a bug\n")));
  EXPECT_LT(outcome.seconds, 10);
}

TEST_P(WayOutTest, UnwindingDoesNotWaitForSumsThatNeverEnd) {
  const Outcome outcome = RunRanks(GetParam(), "throws-amid-sums");
  EXPECT_EQ(outcome.exit_code, 9);
  EXPECT_THAT(outcome.output,
              MatchesRegex(absl::StrCat("rank ", GetParam() - 1, " on [^\n:]+: a bug amid sums\n")));
  EXPECT_LT(outcome.seconds, 10);
}

TEST_P(WayOutTest, AnEmptyLineIsNotPrinted) {
  const Outcome outcome = RunRanks(GetParam(), "is-silent");
  EXPECT_EQ(outcome.exit_code, 75);
  EXPECT_EQ(outcome.output, "");
}

INSTANTIATE_TEST_SUITE_P(Ranks, WayOutTest, ::testing::Values(1, 2, 3), ::testing::PrintToStringParamName());

TEST(WayOutWithoutMpirunTest, AWorldOfOneEndsInTheSameWay) {
  const Outcome fine = RunCommand(absl::StrCat(WORKER, " none"));
  EXPECT_EQ(fine.exit_code, 0);
  EXPECT_EQ(fine.output, "");
  const Outcome outcome = RunCommand(absl::StrCat(WORKER, " throws"));
  EXPECT_EQ(outcome.exit_code, 9);
  EXPECT_THAT(outcome.output, MatchesRegex("rank 0 on [^\n:]+: a bug\n"));
}

}  // namespace
}  // namespace launcher
