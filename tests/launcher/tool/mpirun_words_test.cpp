#include "launcher/tool/mpirun_words.h"

#include <gtest/gtest.h>

#include <string>

namespace launcher::tool {
namespace {

const std::string kRule(74, '-');

// As Open MPI 4.1.4 wrote them.
const std::string kPrimary = kRule +
                             "\nPrimary job  terminated normally, but 1 process returned\n"
                             "a non-zero exit code. Per user-direction, the job has been aborted.\n" +
                             kRule + "\n";
const std::string kKilled =
    kPrimary + kRule +
    "\nmpirun noticed that process rank 1 with PID 0 on node node7 exited on signal 9 "
    "(Killed).\n" +
    kRule + "\n";
const std::string kExited =
    kPrimary + kRule +
    "\nmpirun detected that one or more processes exited with non-zero status, thus causing\n"
    "the job to be terminated. The first process to do so was:\n\n"
    "  Process name: [[28456,1],13]\n  Exit code:    9\n" +
    kRule + "\n";
const std::string kLost = kRule +
                          "\nORTE has lost communication with a remote daemon.\n\n"
                          "  HNP daemon   : [[28297,0],0] on node vm\n"
                          "  Remote daemon: [[28297,0],2] on node nodeb\n\n" +
                          kRule + "\n";

TEST(FindCulpritTest, ReadsWhatMpirunSays) {
  EXPECT_EQ(FindCulprit(""), "");
  EXPECT_EQ(FindCulprit(kKilled), "rank 1 on node7, signal 9 (Killed)");
  EXPECT_EQ(FindCulprit(kExited), "rank 13");
  EXPECT_EQ(FindCulprit(kLost), "host nodeb is lost");
}

TEST(FindCulpritTest, OtherWordsInABox) {
  const auto box = [](const std::string& line) {
    return FindCulprit(kRule + "\n" + line + "\n" + kRule + "\n");
  };
  EXPECT_EQ(box("MPI_ABORT was invoked on rank 3 in communicator MPI_COMM_WORLD"), "rank 3");
  EXPECT_EQ(box("There are not enough slots available in the system to satisfy the 4"),
            "mpirun: not enough slots");
  EXPECT_EQ(box("ORTE was unable to reliably start one or more daemons."),
            "mpirun: a host cannot be reached");
  EXPECT_EQ(box("something else"), "");
  EXPECT_EQ(box("mpirun noticed that process rank"), "");
}

TEST(FindCulpritTest, TheFirstThatIsNamedCounts) {
  EXPECT_EQ(FindCulprit(kLost + kKilled), "host nodeb is lost");
  EXPECT_EQ(FindCulprit(kKilled + kExited), "rank 1 on node7, signal 9 (Killed)");
}

TEST(FindCulpritTest, ARanksLastWordsAreAdded) {
  EXPECT_EQ(FindCulprit("mpirun: Forwarding signal 10 to job\nold news\ntrainer: disk full\n" + kExited),
            "rank 13: trainer: disk full");
  EXPECT_EQ(FindCulprit("[rank 3]: no memory\n[]\n[a:] b"), "[a:] b");
  EXPECT_EQ(FindCulprit("[vm:17814] [[10606,0],1] ORTE_ERROR_LOG: Error\nboo"), "boo");
}

TEST(FindCulpritTest, TheRankThatAMessageNamesGoesBeforeTheOneThatEndedFirst) {
  EXPECT_EQ(FindCulprit("rank 3 on node7 has made no progress for 5 s\n" + kExited),
            "rank 3 on node7 has made no progress for 5 s");
  EXPECT_EQ(FindCulprit("rank 0 on node1: has another rank died?\n" + kKilled),
            "rank 1 on node7, signal 9 (Killed): rank 0 on node1: has another rank died?");
}

TEST(FindCulpritTest, StaysOneShortLine) {
  const std::string culprit = FindCulprit("\x1b[31m" + std::string(5000, 'x') + "\r\n" + kKilled);
  EXPECT_LT(culprit.size(), 300u);
  EXPECT_EQ(culprit.find_first_of("\x1b\r\n"), std::string::npos);
  EXPECT_TRUE(culprit.starts_with("rank 1 on node7"));
}

}  // namespace
}  // namespace launcher::tool
