#include "launcher/stop_signals.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <initializer_list>
#include <thread>
#include <utility>

#include "launcher/error.h"
#include "launcher/stop_signal.h"

namespace launcher {
namespace {

class StopSignalsTest : public ::testing::TestWithParam<int> {};

TEST_P(StopSignalsTest, SetsTheFlagAndNothingElse) {
  const StopSignals signals;
  EXPECT_FALSE(signals.requested());
  EXPECT_EQ(signals.signal(), 0);
  ASSERT_EQ(kill(getpid(), GetParam()), 0);
  // To a process with one thread that does not block it, the signal comes before kill() returns.
  EXPECT_TRUE(signals.requested());
  EXPECT_EQ(signals.signal(), GetParam());
}

INSTANTIATE_TEST_SUITE_P(All, StopSignalsTest, ::testing::Values(SIGTERM, SIGUSR1, SIGINT),
                         [](const auto& parameter) {
                           return parameter.param == SIGTERM   ? "SIGTERM"
                                  : parameter.param == SIGUSR1 ? "SIGUSR1"
                                                               : "SIGINT";
                         });

TEST(StopSignalsTest, AnotherOneInPlaceOfTheThird) {
  EXPECT_EQ(ChosenStopSignal(), SIGUSR1);
  for (const auto& [text, signal] : std::initializer_list<std::pair<const char*, int>>{{"USR2", SIGUSR2},
                                                                                       {"SIGUSR2", SIGUSR2},
                                                                                       {"USR1", SIGUSR1},
                                                                                       {"", SIGUSR1},
                                                                                       {"KILL", 0},
                                                                                       {"12", 0}}) {
    ASSERT_EQ(setenv(kStopSignalVariable, text, 1), 0);
    EXPECT_EQ(ChosenStopSignal(), signal) << text;
    if (signal != 0) {
      EXPECT_EQ(ChosenStopSignal() + UnchosenStopSignal(), SIGUSR1 + SIGUSR2) << text;
    }
  }
  ASSERT_EQ(unsetenv(kStopSignalVariable), 0);
  const auto before = signal(SIGUSR1, SIG_IGN);
  {
    const StopSignals signals(SIGUSR2);
    ASSERT_EQ(kill(getpid(), SIGUSR1), 0);
    EXPECT_FALSE(signals.requested());
    ASSERT_EQ(kill(getpid(), SIGUSR2), 0);
    EXPECT_EQ(signals.signal(), SIGUSR2);
  }
  EXPECT_EQ(signal(SIGUSR1, before), SIG_IGN);
}

TEST(StopSignalsTest, TheFirstOneIsKept) {
  const StopSignals signals;
  ASSERT_EQ(kill(getpid(), SIGUSR1), 0);
  ASSERT_EQ(kill(getpid(), SIGTERM), 0);
  EXPECT_EQ(signals.signal(), SIGUSR1);
}

TEST(StopSignalsTest, EachObjectBeginsAnew) {
  {
    const StopSignals signals;
    ASSERT_EQ(kill(getpid(), SIGTERM), 0);
    EXPECT_TRUE(signals.requested());
  }
  EXPECT_FALSE(StopSignals().requested());
}

TEST(StopSignalsTest, AnotherThreadsSignalIsSeenByAll) {
  const StopSignals signals;
  std::thread([] { raise(SIGTERM); }).join();
  EXPECT_EQ(signals.signal(), SIGTERM);
}

TEST(StopSignalsTest, InterruptedReadsGoOn) {
  const StopSignals signals;
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const pthread_t reader = pthread_self();
  std::thread other([&] {
    usleep(50'000);
    pthread_kill(reader, SIGTERM);
    usleep(50'000);
    EXPECT_EQ(write(ends[1], "x", 1), 1);
  });
  char byte = 0;
  EXPECT_EQ(read(ends[0], &byte, 1), 1);
  other.join();
  EXPECT_EQ(signals.signal(), SIGTERM);
  close(ends[0]);
  close(ends[1]);
}

TEST(StopSignalsTest, PutsTheFormerHandlersBack) {
  static volatile std::sig_atomic_t seen = 0;
  struct sigaction before;
  struct sigaction own = {};
  own.sa_handler = [](int) { seen = seen + 1; };
  ASSERT_EQ(sigaction(SIGUSR1, &own, &before), 0);
  {
    const StopSignals signals;
    ASSERT_EQ(kill(getpid(), SIGUSR1), 0);
    EXPECT_EQ(seen, 0);
  }
  ASSERT_EQ(kill(getpid(), SIGUSR1), 0);
  EXPECT_EQ(seen, 1);
  ASSERT_EQ(sigaction(SIGUSR1, &before, nullptr), 0);
}

TEST(StopSignalsTest, OneAtATime) {
  const StopSignals signals;
  EXPECT_THROW(StopSignals(), Error);
  ASSERT_EQ(kill(getpid(), SIGINT), 0);  // the refused one has taken nothing away
  EXPECT_TRUE(signals.requested());
}

}  // namespace
}  // namespace launcher
