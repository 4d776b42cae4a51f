#include "launcher/device.h"

#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/cuda.h>

#include "launcher/control.h"
#include "launcher/core_share.h"
#include "tests/launcher/mpi_test.h"

namespace launcher {
namespace {

using ::testing::HasSubstr;
using testing::TestWorld;

TEST(BindDeviceTest, CpuWithGivenThreads) {
  const auto device = BindDevice(TestWorld(), {.requested = "cpu", .threads = 3});
  ASSERT_TRUE(device.ok()) << device.status();
  EXPECT_TRUE(device->is_cpu());
  EXPECT_EQ(at::get_num_threads(), 3);
}

TEST(BindDeviceTest, CpuWithThisRanksShareOfTheCores) {
  const auto device = BindDevice(TestWorld(), {.requested = "cpu", .threads = 0});
  ASSERT_TRUE(device.ok()) << device.status();
  const int threads = at::get_num_threads();
  EXPECT_EQ(threads, CoreShare(TestWorld()));
  // All ranks together use no more than there is, unless there are more ranks than cores.
  const double total = AllReduceSum({static_cast<double>(threads)})[0];
  const auto cpus = static_cast<double>(internal::AffinityCpus().size());
  EXPECT_LE(total, std::max<double>(cpus, TestWorld().size));
  EXPECT_GE(threads, 1);
}

TEST(BindDeviceTest, AutoTakesTheCpuWhereThereIsNoGpu) {
  if (torch::cuda::is_available()) GTEST_SKIP() << "this machine has a CUDA device";
  const auto device = BindDevice(TestWorld(), {});
  ASSERT_TRUE(device.ok()) << device.status();
  EXPECT_TRUE(device->is_cpu());
}

TEST(BindDeviceTest, CudaWithoutAGpuIsAClearError) {
  if (torch::cuda::is_available()) GTEST_SKIP() << "this machine has a CUDA device";
  const auto device = BindDevice(TestWorld(), {.requested = "cuda"});
  ASSERT_FALSE(device.ok());
  EXPECT_EQ(device.status().code(), absl::StatusCode::kInvalidArgument);
  const std::string message(device.status().message());
  EXPECT_THAT(message, HasSubstr("no GPU"));
  EXPECT_THAT(message, HasSubstr(TestWorld().host));
  EXPECT_THAT(message, HasSubstr("train.device=cpu"));
}

TEST(BindDeviceTest, UnknownWord) {
  const auto device = BindDevice(TestWorld(), {.requested = "tpu"});
  ASSERT_FALSE(device.ok());
  EXPECT_EQ(device.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(device.status().message()), HasSubstr("'tpu'"));
}

TEST(BindDeviceTest, OneRanksMistakeIsEveryonesError) {
  const auto device = BindDevice(
      TestWorld(), {.requested = "cpu", .threads = TestWorld().rank == TestWorld().size - 1 ? -2 : 1});
  ASSERT_FALSE(device.ok());
  EXPECT_THAT(std::string(device.status().message()), HasSubstr("-2"));
}

}  // namespace
}  // namespace launcher
