#include "launcher/tool/stop_relay.h"

#include <gtest/gtest.h>

#include <csignal>

namespace launcher::tool {
namespace {

TEST(StopRelayTest, EveryFirstSignalBecomesSigusr1) {
  for (const int signal : {SIGUSR1, SIGTERM, SIGINT, SIGHUP}) {
    StopRelay relay;
    EXPECT_FALSE(relay.requested());
    EXPECT_EQ(relay.OnSignal(signal, true), SIGUSR1);
    EXPECT_TRUE(relay.requested());
    EXPECT_FALSE(relay.waits_for_ranks());
  }
}

TEST(StopRelayTest, TheSecondEndingGoesThroughAsItIs) {
  StopRelay relay;
  EXPECT_EQ(relay.OnSignal(SIGTERM, true), SIGUSR1);
  EXPECT_EQ(relay.OnSignal(SIGINT, true), SIGINT);
  EXPECT_EQ(relay.OnSignal(SIGTERM, true), SIGTERM);
  EXPECT_EQ(relay.OnSignal(SIGHUP, true), SIGTERM);  // mpirun has no better idea of it
}

TEST(StopRelayTest, Sigusr1IsSentOnce) {
  StopRelay relay;
  EXPECT_EQ(relay.OnSignal(SIGUSR1, true), SIGUSR1);
  EXPECT_EQ(relay.OnSignal(SIGUSR1, true), 0);
  EXPECT_EQ(relay.OnSignal(SIGTERM, true), 0);  // SLURM's second word: the ranks are saving
  EXPECT_EQ(relay.OnSignal(SIGUSR1, true), 0);
  EXPECT_EQ(relay.OnSignal(SIGTERM, true), SIGTERM);
}

TEST(StopRelayTest, WhatCameTooEarlyIsRepeatedOnce) {
  StopRelay relay;
  EXPECT_EQ(relay.OnSignal(SIGTERM, false), SIGUSR1);
  EXPECT_TRUE(relay.waits_for_ranks());
  EXPECT_EQ(relay.OnRanksAreUp(), SIGUSR1);
  EXPECT_FALSE(relay.waits_for_ranks());
  EXPECT_EQ(relay.OnRanksAreUp(), 0);
}

TEST(StopRelayTest, NothingIsRepeatedAfterAnEnding) {
  StopRelay relay;
  EXPECT_EQ(relay.OnSignal(SIGTERM, false), SIGUSR1);
  EXPECT_EQ(relay.OnSignal(SIGTERM, false), SIGTERM);
  EXPECT_FALSE(relay.waits_for_ranks());
  EXPECT_EQ(relay.OnRanksAreUp(), 0);
}

}  // namespace
}  // namespace launcher::tool
