#include "launcher/control.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <mpi.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <thread>

#include "absl/strings/str_cat.h"
#include "launcher/error.h"
#include "tests/launcher/mpi_test.h"

namespace launcher {
namespace {

using ::testing::HasSubstr;
using testing::TestWorld;

TEST(WorldTest, IsWhatMpiSays) {
  const World& world = TestWorld();
  int rank = -1;
  int size = -1;
  ASSERT_EQ(MPI_Comm_rank(MPI_COMM_WORLD, &rank), MPI_SUCCESS);
  ASSERT_EQ(MPI_Comm_size(MPI_COMM_WORLD, &size), MPI_SUCCESS);
  EXPECT_EQ(world.rank, rank);
  EXPECT_EQ(world.size, size);
  char host[256] = {};
  ASSERT_EQ(gethostname(host, sizeof(host) - 1), 0);
  EXPECT_EQ(world.host, host);
}

TEST(WorldTest, LocalRanksNumberTheRanksOfThisHost) {
  const World& world = TestWorld();
  // Open MPI's own launcher tells each process the same by other means.
  if (const char* local = std::getenv("OMPI_COMM_WORLD_LOCAL_RANK")) {
    EXPECT_EQ(absl::StrCat(world.local_rank), local);
    EXPECT_EQ(absl::StrCat(world.local_size), std::getenv("OMPI_COMM_WORLD_LOCAL_SIZE"));
  } else {
    EXPECT_EQ(world.size, 1);  // started without mpirun
    EXPECT_EQ(world.local_rank, 0);
    EXPECT_EQ(world.local_size, 1);
  }
}

TEST(AgreeOnTest, OkWhereAllAre) { EXPECT_TRUE(AgreeOn(TestWorld(), absl::OkStatus()).ok()); }

TEST(AgreeOnTest, EachRankMayFail) {
  const World& world = TestWorld();
  for (int failing = 0; failing < world.size; ++failing) {
    const absl::Status mine = world.rank == failing
                                  ? absl::DataLossError(absl::StrCat("shard ", failing, " is damaged"))
                                  : absl::OkStatus();
    const absl::Status all = AgreeOn(world, mine);
    EXPECT_EQ(all.code(), absl::StatusCode::kDataLoss);
    const std::string host = BroadcastString(world.host, failing);
    const std::string prefix = world.size == 1 ? "" : absl::StrCat("rank ", failing, " on ", host, ": ");
    EXPECT_EQ(all.message(), absl::StrCat(prefix, "shard ", failing, " is damaged"));
  }
}

TEST(AgreeOnTest, LowestFailingRankSpeaksForAll) {
  const World& world = TestWorld();
  for (int first = 0; first < world.size; ++first) {
    absl::Status mine;
    if (world.rank == first) mine = absl::NotFoundError("first");
    if (world.rank > first)
      mine = absl::InternalError(absl::StrCat("later ", std::string(world.rank * 100, 'x')));
    const absl::Status all = AgreeOn(world, mine);
    EXPECT_EQ(all.code(), absl::StatusCode::kNotFound);
    EXPECT_THAT(std::string(all.message()), ::testing::EndsWith("first"));
  }
}

TEST(StringsTest, BroadcastFromEachRoot) {
  const World& world = TestWorld();
  for (int root = 0; root < world.size; ++root) {
    std::string expected = absl::StrCat("from ", root);
    expected += '\0';
    expected += std::string(1 << 20, static_cast<char>(200 + root));
    EXPECT_EQ(BroadcastString(world.rank == root ? expected : "mine", root), expected);
    EXPECT_EQ(BroadcastString(world.rank == root ? "" : "mine", root), "");
  }
}

// Lengths differ, one is empty, zero bytes are bytes.
std::string StringOf(int rank) {
  return std::string(rank * 1000, static_cast<char>('a' + rank)) + std::string(rank, '\0');
}

TEST(StringsTest, GatherGivesRootAllInOrder) {
  const World& world = TestWorld();
  for (int root = 0; root < world.size; ++root) {
    std::vector<std::string> expected;
    for (int rank = 0; rank < world.size && world.rank == root; ++rank) expected.push_back(StringOf(rank));
    EXPECT_EQ(GatherStrings(StringOf(world.rank), root), expected);
  }
}

TEST(StringsTest, AllGatherGivesEveryoneAllInOrder) {
  std::vector<std::string> expected;
  for (int rank = 0; rank < TestWorld().size; ++rank) expected.push_back(StringOf(rank));
  EXPECT_EQ(AllGatherStrings(StringOf(TestWorld().rank)), expected);
}

TEST(AllReduceSumTest, AddsElementWise) {
  const World& world = TestWorld();
  const double n = world.size;
  const double triangle = n * (n - 1) / 2;
  EXPECT_EQ(AllReduceSum({1.0, static_cast<double>(world.rank), -2.5 * world.rank}),
            (std::vector<double>{n, triangle, -2.5 * triangle}));
  EXPECT_TRUE(AllReduceSum({}).empty());
}

TEST(AllReduceSumTest, AddsInTheOrderOfRanks) {
  // (1e16 + 1) - 1e16 + ... : any other order gives another number.
  const auto term = [](int rank) { return rank % 3 == 0 ? 1e16 : rank % 3 == 1 ? 1.0 : -1e16; };
  double expected = 0;
  for (int rank = 0; rank < TestWorld().size; ++rank) expected += term(rank);
  EXPECT_EQ(AllReduceSum({term(TestWorld().rank)}), std::vector<double>{expected});
}

TEST(AllReduceSumTest, DifferentLengthsThrowEverywhere) {
  if (TestWorld().size == 1) GTEST_SKIP() << "one rank cannot disagree";
  EXPECT_THROW(AllReduceSum(std::vector<double>(TestWorld().rank == 0 ? 2 : 3)), Error);
}

TEST(AllEqualTest, SeesOneDifferentRank) {
  const World& world = TestWorld();
  for (const uint64_t value : {uint64_t{0}, ~uint64_t{0}, uint64_t{0x8000000000000000}, uint64_t{42}}) {
    EXPECT_TRUE(AllEqual(value));
    for (int odd = 0; odd < world.size; ++odd) {
      for (const uint64_t bit : {uint64_t{1}, uint64_t{1} << 63}) {
        EXPECT_EQ(AllEqual(world.rank == odd ? value ^ bit : value), world.size == 1);
      }
    }
  }
}

double ThreadCpuSeconds() {
  rusage usage;
  EXPECT_EQ(getrusage(RUSAGE_THREAD, &usage), 0);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + time.tv_usec * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

TEST(BarrierTest, WaitsForTheLastWithoutBurningACore) {
  Barrier();
  const double cpu = ThreadCpuSeconds();
  const auto start = std::chrono::steady_clock::now();
  if (TestWorld().rank == 0) std::this_thread::sleep_for(std::chrono::seconds(2));
  Barrier();
  const double waited = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  EXPECT_GE(waited, 1);
  EXPECT_LT(ThreadCpuSeconds() - cpu, 0.5 * waited);
}

TEST(ErrorTest, SaysCallPlaceRankHostAndHint) {
  const int no_such_rank = TestWorld().size;
  try {
    BroadcastString("x", no_such_rank);
    FAIL() << "a broadcast from rank " << no_such_rank << " cannot work";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("MPI_Ibcast("));
    EXPECT_THAT(error.what(), HasSubstr("control.cpp:"));
    EXPECT_THAT(error.what(), HasSubstr(absl::StrCat("rank ", TestWorld().rank, " on ", TestWorld().host)));
    EXPECT_THAT(error.what(), HasSubstr("MPI_ERR_ROOT"));
    EXPECT_THAT(error.what(), HasSubstr("another rank"));
  }
}

TEST(MpiSessionTest, OnlyOneAProcess) { EXPECT_THROW(MpiSession(nullptr, nullptr), Error); }

}  // namespace
}  // namespace launcher
