#include "launcher/core_share.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

namespace launcher::internal {
namespace {

using Cpus = std::vector<int>;

TEST(ShareOfCpusTest, UnboundRanksDivideTheHost) {
  const Cpus all = {0, 1, 2, 3, 4, 5, 6, 7};
  EXPECT_EQ(ShareOfCpus(all, {all}, 0), 8);
  EXPECT_EQ(ShareOfCpus(all, {all, all}, 0), 4);
  EXPECT_EQ(ShareOfCpus(all, {all, all, all}, 0), 2);  // 8 / 3, rounded down
}

TEST(ShareOfCpusTest, BoundRanksKeepWhatIsTheirs) {
  EXPECT_EQ(ShareOfCpus({0}, {{0}, {1}}, 0), 1);
  EXPECT_EQ(ShareOfCpus({4, 5, 6, 7}, {{0, 1, 2, 3}, {4, 5, 6, 7}}, 0), 4);
  EXPECT_EQ(ShareOfCpus({0, 1, 2, 3}, {{0, 1, 2, 3}, {0, 1, 2, 3}, {4, 5, 6, 7}}, 0), 2);
}

TEST(ShareOfCpusTest, ThirdsAddUp) {
  const Cpus three = {0, 1, 2};
  EXPECT_EQ(ShareOfCpus(three, {three, three, three}, 0), 1);
  const Cpus six = {0, 1, 2, 3, 4, 5};
  EXPECT_EQ(ShareOfCpus(six, {six, six, six}, 0), 2);
}

TEST(ShareOfCpusTest, AtLeastOneEvenWhenOversubscribed) {
  const Cpus two = {0, 1};
  EXPECT_EQ(ShareOfCpus(two, {two, two, two, two}, 0), 1);
}

TEST(ShareOfCpusTest, TheContainersQuotaIsDividedToo) {
  Cpus all(64);
  for (int i = 0; i < 64; ++i) all[i] = i;
  EXPECT_EQ(ShareOfCpus(all, {all}, 4.0), 4);
  EXPECT_EQ(ShareOfCpus(all, {all, all}, 4.0), 2);
  EXPECT_EQ(ShareOfCpus(all, {all, all}, 1.0), 1);
}

TEST(AffinityCpusTest, FollowsTheMask) {
  cpu_set_t before;
  ASSERT_EQ(sched_getaffinity(0, sizeof(before), &before), 0);
  const Cpus all = AffinityCpus();
  EXPECT_EQ(static_cast<int>(all.size()), CPU_COUNT(&before));
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(all.back(), &one);
  ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
  EXPECT_EQ(AffinityCpus(), Cpus{all.back()});
  ASSERT_EQ(sched_setaffinity(0, sizeof(before), &before), 0);
}

TEST(EncodeCpusTest, ComesBack) {
  for (const Cpus& cpus : {Cpus{}, Cpus{7}, Cpus{0, 1, 511}}) EXPECT_EQ(DecodeCpus(EncodeCpus(cpus)), cpus);
}

class CgroupTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "cgroup-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  void Write(const std::string& path, const std::string& text) {
    const std::filesystem::path file = root_ / path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  double Limit() { return CgroupCpuLimitUnder((root_ / "fs").string(), (root_ / "membership").string()); }

  std::filesystem::path root_;
};

TEST_F(CgroupTest, NoneWithoutFiles) { EXPECT_EQ(Limit(), 0); }

TEST_F(CgroupTest, Version2TakesTheTightestOnTheWayUp) {
  Write("membership", "0::/a/b\n");
  Write("fs/a/b/cpu.max", "max 100000\n");
  EXPECT_EQ(Limit(), 0);
  Write("fs/a/cpu.max", "250000 100000\n");
  EXPECT_EQ(Limit(), 2.5);
  Write("fs/cpu.max", "100000 100000\n");
  EXPECT_EQ(Limit(), 1);
  Write("fs/a/b/cpu.max", "50000 100000\n");
  EXPECT_EQ(Limit(), 0.5);
}

TEST_F(CgroupTest, Version2InAContainerWhoseGroupIsTheMount) {
  Write("membership", "0::/\n");
  Write("fs/cpu.max", "300000 100000\n");
  EXPECT_EQ(Limit(), 3);
}

TEST_F(CgroupTest, Version1) {
  Write("membership", "5:memory:/x\n4:cpu,cpuacct:/x\n");
  Write("fs/cpu/x/cpu.cfs_quota_us", "-1\n");
  Write("fs/cpu/x/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(Limit(), 0);
  Write("fs/cpu/cpu.cfs_quota_us", "150000\n");
  Write("fs/cpu/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(Limit(), 1.5);
}

TEST_F(CgroupTest, NonsenseIsNoLimit) {
  Write("membership", "what\n0::/\n");
  for (const char* text : {"", "max", "many 100000", "100000", "100000 0", "-5 100000", "100000 often"}) {
    Write("fs/cpu.max", text);
    EXPECT_EQ(Limit(), 0) << text;
  }
}

}  // namespace
}  // namespace launcher::internal
