#include "launcher/cores.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <set>

namespace launcher {
namespace {

using internal::Cpu;
using internal::DealCpus;
using internal::FormatCpuList;
using internal::ParseCpuList;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Cpus = std::vector<int>;

TEST(CpuListTest, BothWays) {
  EXPECT_THAT(ParseCpuList("0-3,8\n"), ElementsAre(0, 1, 2, 3, 8));
  EXPECT_THAT(ParseCpuList("5"), ElementsAre(5));
  EXPECT_THAT(ParseCpuList(""), IsEmpty());
  EXPECT_THAT(ParseCpuList("what"), IsEmpty());
  EXPECT_EQ(FormatCpuList({0, 1, 2, 3, 8, 10, 11}), "0-3,8,10-11");
  EXPECT_EQ(FormatCpuList({}), "");
  for (const char* text : {"0", "0-1", "1,3,5-127"}) EXPECT_EQ(FormatCpuList(ParseCpuList(text)), text);
}

// A host of `nodes` NUMA nodes with `cores` cores each, of two CPUs each: the second ones come after all
// first ones, as Linux numbers them.
std::vector<Cpu> Host(int nodes, int cores) {
  std::vector<Cpu> cpus;
  for (int thread = 0; thread < 2; ++thread) {
    for (int core = 0; core < nodes * cores; ++core) {
      cpus.push_back({thread * nodes * cores + core, core / cores, core});
    }
  }
  return cpus;
}

TEST(DealCpusTest, ARankANode) {
  EXPECT_THAT(DealCpus(Host(2, 2), {-1, -1}), ElementsAre(Cpus{0, 1, 4, 5}, Cpus{2, 3, 6, 7}));
}

TEST(DealCpusTest, SeveralRanksANodeGetWholeCores) {
  EXPECT_THAT(DealCpus(Host(2, 2), {-1, -1, -1, -1}),
              ElementsAre(Cpus{0, 4}, Cpus{1, 5}, Cpus{2, 6}, Cpus{3, 7}));
}

TEST(DealCpusTest, MoreRanksThanCoresBreakThemUp) {
  const auto dealt = DealCpus(Host(2, 1), {-1, -1, -1, -1});
  EXPECT_THAT(dealt, ElementsAre(Cpus{0}, Cpus{2}, Cpus{1}, Cpus{3}));
  EXPECT_THAT(DealCpus(Host(2, 1), {-1, -1, -1, -1, -1}), IsEmpty());
}

TEST(DealCpusTest, NearTheGpus) {
  // As on many machines: the first GPUs are at the second node.
  EXPECT_THAT(DealCpus(Host(2, 2), {1, 1, 0, 0}),
              ElementsAre(Cpus{2, 6}, Cpus{3, 7}, Cpus{0, 4}, Cpus{1, 5}));
  // All at one node: the other one stays idle rather than far.
  EXPECT_THAT(DealCpus(Host(2, 2), {1, 1}), ElementsAre(Cpus{2, 6}, Cpus{3, 7}));
}

TEST(DealCpusTest, InTheOrderOfNodesWhereAGpusPlaceIsNotKnown) {
  EXPECT_THAT(DealCpus(Host(2, 2), {1, -1}), ElementsAre(Cpus{0, 1, 4, 5}, Cpus{2, 3, 6, 7}));
  // Nor where it has no CPU that the job may use.
  EXPECT_THAT(DealCpus(Host(2, 2), {7, 7}), ElementsAre(Cpus{0, 1, 4, 5}, Cpus{2, 3, 6, 7}));
}

TEST(DealCpusTest, EverythingIsDealtOnceWhateverTheNumbers) {
  for (int nodes = 1; nodes <= 4; ++nodes) {
    for (int cores = 1; cores <= 6; ++cores) {
      for (int ranks = 1; ranks <= 2 * nodes * cores; ++ranks) {
        const auto dealt = DealCpus(Host(nodes, cores), Cpus(static_cast<size_t>(ranks), -1));
        ASSERT_EQ(dealt.size(), static_cast<size_t>(ranks));
        std::multiset<int> all;
        size_t least = 1000, most = 0;
        for (const auto& mine : dealt) {
          all.insert(mine.begin(), mine.end());
          least = std::min(least, mine.size());
          most = std::max(most, mine.size());
        }
        EXPECT_EQ(all.size(), static_cast<size_t>(2 * nodes * cores));
        EXPECT_EQ(std::set<int>(all.begin(), all.end()).size(), all.size());
        EXPECT_GE(least, 1U);
        EXPECT_LE(most, least + 2);  // a core more
      }
    }
  }
}

TEST(DescribeCpusTest, ReadsWhatTheSystemSays) {
  std::string pattern = (std::filesystem::temp_directory_path() / "cores-XXXXXX").string();
  ASSERT_NE(mkdtemp(pattern.data()), nullptr);
  const auto write = [&](const std::string& path, const std::string& text) {
    const auto file = std::filesystem::path(pattern) / path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text << "\n";
  };
  EXPECT_THAT(internal::DescribeCpus({0, 3}, pattern), ElementsAre(Cpu{0, 0, 0}, Cpu{3, 0, 3}));
  write("node/online", "0-1");
  write("node/node0/cpulist", "0,2");
  write("node/node1/cpulist", "1,3");
  write("cpu/cpu3/topology/thread_siblings_list", "1,3");
  EXPECT_THAT(internal::DescribeCpus({0, 1, 3}, pattern),
              ElementsAre(Cpu{0, 0, 0}, Cpu{1, 1, 1}, Cpu{3, 1, 1}));
  std::filesystem::remove_all(pattern);
}

RankCores On(Cpus cpus, Binder binder) {
  RankCores cores;
  cores.host = "node7";
  cores.cpus = std::move(cpus);
  cores.nodes = {1};
  cores.binder = binder;
  return cores;
}

TEST(SummariseCoresTest, OneLine) {
  EXPECT_EQ(SummariseCores({On({0, 1}, Binder::kNobody)}), "on any of 2 cores, bound to none");
  EXPECT_EQ(SummariseCores({On({0}, Binder::kOthers), On({1}, Binder::kOthers)}),
            "each rank bound to 1 core by what started it");
  EXPECT_EQ(SummariseCores({On({0, 1}, Binder::kThis), On({2, 3}, Binder::kThis)}),
            "each rank bound to 2 cores of its own, by NUMA node");
  EXPECT_EQ(SummariseCores({On({0}, Binder::kThis), On({2, 3}, Binder::kThis)}),
            "ranks on 1 to 2 cores (--verbose lists them)");
}

TEST(DescribeCoresTest, ARank) {
  EXPECT_EQ(DescribeCores(3, On({8, 9, 10, 24}, Binder::kThis), 4),
            "rank 3 on node7: cores 8-10,24, NUMA node 1, 4 threads");
}

TEST(NumaNodeOfPciTest, UnknownDevice) { EXPECT_EQ(NumaNodeOfPci("ffff:ff:1f.7"), -1); }

}  // namespace
}  // namespace launcher
