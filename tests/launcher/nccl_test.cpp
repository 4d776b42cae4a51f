// Runs where there is a CUDA device: one rank with NCCL forced on it, or several, which may have to share the
// device.

#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <gtest/gtest.h>
#include <torch/cuda.h>
#include <torch/torch.h>

#include <chrono>
#include <cstdlib>
#include <thread>

#include "launcher/communicator.h"
#include "launcher/control.h"
#include "launcher/device.h"
#include "launcher/error.h"
#include "tests/launcher/mpi_test.h"

namespace launcher {
namespace {

using testing::TestWorld;

class NcclTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!torch::cuda::is_available()) GTEST_SKIP() << "no CUDA device";
    ASSERT_EQ(setenv("TRAINER_FORCE_NCCL", "1", 1), 0);
    ASSERT_EQ(setenv("TRAINER_SHARE_GPU", "1", 1), 0);
    if (!device_.has_value()) {
      const auto device = BindDevice(TestWorld(), {.requested = "cuda"});
      ASSERT_TRUE(device.ok()) << device.status();
      device_ = *device;
    }
    communicator_ = MakeCommunicator(TestWorld(), *device_);
  }

  torch::Tensor Numbers(int64_t count, int rank) {
    return torch::arange(count, torch::TensorOptions(*device_).dtype(torch::kInt64))
        .remainder(1000)
        .add(rank)
        .to(torch::kFloat32);
  }
  torch::Tensor SumOfNumbers(int64_t count) {
    const int n = TestWorld().size;
    return Numbers(count, 0).mul(n).add(n * (n - 1) / 2);
  }

  static std::optional<torch::Device> device_;
  std::unique_ptr<Communicator> communicator_;
};

std::optional<torch::Device> NcclTest::device_;

TEST_F(NcclTest, IsNccl) {
  EXPECT_STREQ(communicator_->name(), "nccl");
  EXPECT_TRUE(communicator_->Health().ok());
  communicator_->WaitAll();
}

TEST_F(NcclTest, SumsEverySize) {
  for (const int64_t count : {0, 1, 3, 1000, 25'000, 10'000'019}) {
    torch::Tensor slice = Numbers(count, TestWorld().rank);
    communicator_->StartAllReduce(slice);
    communicator_->WaitAll();
    EXPECT_TRUE(torch::equal(slice, SumOfNumbers(count))) << count;
  }
}

// The slice is written by work that is still queued when the sum starts, and read by work queued right after.
TEST_F(NcclTest, OrdersItselfBetweenTheStreamsWork) {
  torch::Tensor noise = torch::rand({2048, 2048}, *device_);
  for (int step = 0; step < 20; ++step) {
    torch::Tensor slice = torch::zeros({1'000'000}, *device_);
    for (int i = 0; i < 5; ++i) noise = torch::mm(noise, noise).div_(1024);
    slice.add_(TestWorld().rank + step);
    communicator_->StartAllReduce(slice);
    torch::Tensor later = torch::mm(noise, noise);  // goes on meanwhile
    communicator_->WaitAll();
    slice.mul_(2);
    const double n = TestWorld().size;
    const double expected = 2 * (n * step + n * (n - 1) / 2);
    EXPECT_EQ(slice.min().item<double>(), expected);
    EXPECT_EQ(slice.max().item<double>(), expected);
  }
}

TEST_F(NcclTest, WorksOnAnotherStreamThanTheDefault) {
  const c10::cuda::CUDAStream stream = c10::cuda::getStreamFromPool(false, device_->index());
  const c10::cuda::CUDAStreamGuard guard(stream);
  torch::Tensor slice = Numbers(100'000, TestWorld().rank);
  communicator_->StartAllReduce(slice);
  communicator_->WaitAll();
  EXPECT_TRUE(torch::equal(slice, SumOfNumbers(100'000)));
}

TEST_F(NcclTest, GivesTheSameBitsOnAllRanksAndEveryTime) {
  torch::Tensor first;
  for (int run = 0; run < 3; ++run) {
    torch::manual_seed(TestWorld().rank);
    torch::Tensor slice = torch::randn({1'000'003}).mul_(1e3).to(*device_);
    std::this_thread::sleep_for(std::chrono::milliseconds(((TestWorld().rank + run) % 3) * 5));
    communicator_->StartAllReduce(slice);
    communicator_->WaitAll();
    const torch::Tensor bits = slice.cpu().view(torch::kInt32);
    if (run == 0) first = bits;
    EXPECT_TRUE(torch::equal(bits, first));
    EXPECT_TRUE(AllEqual(static_cast<uint64_t>(
        bits.to(torch::kInt64).mul(torch::arange(1, 1'000'004)).sum().item<int64_t>())));
  }
}

TEST_F(NcclTest, Broadcasts) {
  for (int root = 0; root < TestWorld().size; ++root) {
    const torch::Tensor expected =
        torch::arange(root, root + 5003, torch::TensorOptions(*device_).dtype(torch::kInt64));
    torch::Tensor tensor = TestWorld().rank == root ? expected.clone() : torch::zeros_like(expected);
    communicator_->Broadcast(tensor, root);
    EXPECT_TRUE(torch::equal(tensor, expected));
  }
}

TEST_F(NcclTest, MayBeCapturedAndReplayed) {
  torch::Tensor input = torch::zeros({100'000}, *device_);
  torch::Tensor slice = torch::zeros({100'000}, *device_);
  torch::Tensor output = torch::zeros({100'000}, *device_);
  at::cuda::CUDAGraph graph;
  {
    const c10::cuda::CUDAStreamGuard guard(c10::cuda::getStreamFromPool(false, device_->index()));
    const auto step = [&] {
      slice.copy_(input);
      communicator_->StartAllReduce(slice.narrow(0, 0, 60'000));
      communicator_->StartAllReduce(slice.narrow(0, 60'000, 40'000));
      communicator_->WaitAll();
      output.copy_(slice).mul_(3);
    };
    step();  // NCCL connects its peers on first use, which cannot be captured
    torch::cuda::synchronize();
    graph.capture_begin();
    step();
    graph.capture_end();
  }
  const double n = TestWorld().size;
  for (int replay = 1; replay <= 3; ++replay) {
    input.fill_(TestWorld().rank * replay);
    torch::cuda::synchronize();
    graph.replay();
    torch::cuda::synchronize();
    EXPECT_EQ(output.min().item<double>(), 3 * replay * n * (n - 1) / 2);
    EXPECT_EQ(output.max().item<double>(), 3 * replay * n * (n - 1) / 2);
  }
  EXPECT_TRUE(communicator_->Health().ok());
}

TEST_F(NcclTest, MeasuresSumsAndCountsBytes) {
  torch::Tensor slice = torch::ones({10'000'000}, *device_);
  communicator_->StartAllReduce(slice);
  communicator_->WaitAll();
  torch::cuda::synchronize();
  communicator_->TakeReduceSeconds();
  communicator_->TakeReducedBytes();
  Barrier();
  // With a peer the sum waits for rank 0.
  if (TestWorld().rank == 0 && TestWorld().size > 1)
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
  communicator_->StartAllReduce(slice);
  communicator_->WaitAll();
  torch::cuda::synchronize();
  const double seconds = communicator_->TakeReduceSeconds();
  if (TestWorld().rank == 0) {
    EXPECT_GT(seconds, 0);
  } else {
    EXPECT_GT(seconds, 0.2);
  }
  EXPECT_LT(seconds, 10);
  EXPECT_EQ(communicator_->TakeReduceSeconds(), 0);
  EXPECT_EQ(communicator_->TakeReducedBytes(), 40'000'000);
}

TEST_F(NcclTest, RefusesWhatItCannotSum) {
  EXPECT_THROW(communicator_->StartAllReduce(torch::ones({4})), Error);
  EXPECT_THROW(
      communicator_->StartAllReduce(torch::ones({4}, torch::TensorOptions(*device_).dtype(torch::kFloat64))),
      Error);
  EXPECT_THROW(communicator_->Broadcast(torch::ones({4}, *device_), TestWorld().size), Error);
}

}  // namespace
}  // namespace launcher
