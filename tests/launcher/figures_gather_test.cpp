#include "launcher/figures_gather.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "launcher/control.h"
#include "launcher/error.h"
#include "tests/launcher/mpi_test.h"

namespace launcher {
namespace {

using testing::TestWorld;

TEST(FiguresGatherTest, RankZeroGetsThemInTheOrderOfRanks) {
  FiguresGather gather(TestWorld(), 2);
  for (int round = 0; round < 100; ++round) {
    gather.Start({static_cast<double>(TestWorld().rank), static_cast<double>(round)});
    const auto figures = gather.Take(/*wait=*/true);
    ASSERT_EQ(figures.has_value(), TestWorld().rank == 0);
    if (!figures) continue;
    ASSERT_EQ(figures->size(), static_cast<size_t>(TestWorld().size));
    for (int rank = 0; rank < TestWorld().size; ++rank) {
      EXPECT_EQ(figures->at(rank),
                (std::vector<double>{static_cast<double>(rank), static_cast<double>(round)}));
    }
    EXPECT_FALSE(gather.Take().has_value());  // once only
  }
}

TEST(FiguresGatherTest, NobodyWaitsForALateRank) {
  FiguresGather gather(TestWorld(), 1);
  Barrier();
  const bool late = TestWorld().rank == TestWorld().size - 1 && TestWorld().size > 1;
  if (late) std::this_thread::sleep_for(std::chrono::seconds(2));
  const auto start = std::chrono::steady_clock::now();
  gather.Start({1.0});
  const bool at_once = gather.Take().has_value();
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(1));
  if (TestWorld().rank == 0) {
    EXPECT_EQ(at_once, TestWorld().size == 1);
    EXPECT_EQ(gather.Take(/*wait=*/true).has_value(), !at_once);
  }
  Barrier();
}

TEST(FiguresGatherTest, OtherTalkMayComeInBetween) {
  FiguresGather gather(TestWorld(), 1);
  gather.Start({2.0});
  EXPECT_EQ(AllReduceSum({1.0}).at(0), TestWorld().size);
  gather.Start({3.0});
  Barrier();
  const auto figures = gather.Take(/*wait=*/true);
  ASSERT_EQ(figures.has_value(), TestWorld().rank == 0);
  if (figures) {
    EXPECT_EQ(figures->back().at(0), 3.0);
  }
}

TEST(FiguresGatherTest, RefusesAnotherNumberOfFigures) {
  FiguresGather gather(TestWorld(), 2);
  EXPECT_THROW(gather.Start({1.0}), Error);
}

}  // namespace
}  // namespace launcher
