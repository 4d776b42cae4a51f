#include "trainer/telemetry/run_figures.h"

#include <gtest/gtest.h>

#include "trainer/telemetry/peak_flops.h"

namespace trainer::telemetry {
namespace {

TEST(SpreadOf, MedianIsTheMiddleOrTheMeanOfTwo) {
  EXPECT_EQ(SpreadOf({3, 1, 2}).median, 2);
  EXPECT_EQ(SpreadOf({4, 1, 2, 8}).median, 3);
  const auto spread = SpreadOf({1, 9, 5, 9});
  EXPECT_EQ(spread.min, 1);
  EXPECT_EQ(spread.max, 9);
  EXPECT_EQ(spread.max_rank, 1);
}

TEST(RanksFigures, TheSlowRankIsTheOneThatWorksLongestNotTheOneThatWaits) {
  RanksFigures ranks;
  ranks.hosts = {"a", "b", "b"};
  ranks.ranks.resize(3);
  for (auto& rank : ranks.ranks) {
    rank.phase_seconds[static_cast<size_t>(Phase::kForward)] = 1;
    rank.phase_seconds[static_cast<size_t>(Phase::kExposedCommunication)] = 5;
  }
  ranks.ranks[2].phase_seconds[static_cast<size_t>(Phase::kDataWait)] = 2;
  ranks.ranks[2].phase_seconds[static_cast<size_t>(Phase::kExposedCommunication)] = 0;
  EXPECT_EQ(ranks.Busy().max_rank, 2);
  EXPECT_EQ(ranks.Busy().max, 3);
  EXPECT_EQ(ranks.Busy().median, 1);

  IntervalFigures figures;
  EXPECT_FALSE(ToJson(figures).contains("slowest_rank"));
  figures.ranks = ranks;
  EXPECT_EQ(ToJson(figures)["slowest_rank"], 2);
  EXPECT_EQ(ToJson(figures)["slowest_host"], "b");
}

TEST(ToJson, LeavesOutWhatIsAbsent) {
  IntervalFigures figures;
  for (const char* key : {"valid_loss", "valid_accuracy", "model_flops_utilization"}) {
    EXPECT_FALSE(ToJson(figures).contains(key)) << key;
  }
  figures.model_flops_utilization = 0.4;
  EXPECT_EQ(ToJson(figures)["model_flops_utilization"], 0.4);
  EXPECT_TRUE(ToJson(figures).contains("exposed_communication_seconds"));
}

TEST(PeakFlops, KnowsGpusByTheWordsOfTheirNames) {
  EXPECT_EQ(PeakFlops("NVIDIA H100 80GB HBM3"), 67e12);
  EXPECT_EQ(PeakFlops("NVIDIA H100 PCIe"), 51e12);
  EXPECT_EQ(PeakFlops("NVIDIA A100-SXM4-80GB"), 19.5e12);
  EXPECT_EQ(PeakFlops("Tesla V100-SXM2-32GB"), 15.7e12);
  EXPECT_EQ(PeakFlops("NVIDIA RTX A3000 Laptop GPU"), std::nullopt);
  EXPECT_EQ(PeakFlops(""), std::nullopt);
}

}  // namespace
}  // namespace trainer::telemetry
