#include "launcher/communicator.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <thread>
#include <vector>

#include "launcher/control.h"
#include "launcher/error.h"
#include "tests/launcher/mpi_test.h"

namespace launcher {
namespace {

using testing::TestWorld;

// Of both kinds that CPU ranks have.
class AllReduceTest : public ::testing::TestWithParam<const char*> {
 protected:
  static std::unique_ptr<Communicator> Make() {
    setenv("TRAINER_SHARED_MEMORY", std::string_view(GetParam()) == "mpi" ? "0" : "1", 1);
    return MakeCommunicator(TestWorld(), torch::kCPU);
  }
};
INSTANTIATE_TEST_SUITE_P(Kinds, AllReduceTest, ::testing::Values("mpi", "shared memory"),
                         [](const auto& kind) { return kind.index == 0 ? "Mpi" : "SharedMemory"; });

// Element i of rank r is i % 1000 + r: small whole numbers, which floats add up exactly.
torch::Tensor Numbers(int64_t count, int rank) {
  return torch::arange(count, torch::kInt64).remainder(1000).add(rank).to(torch::kFloat32);
}

torch::Tensor SumOfNumbers(int64_t count) {
  const int n = TestWorld().size;
  return Numbers(count, 0).mul(n).add(n * (n - 1) / 2);
}

// FNV-1a over the bytes.
uint64_t Hash(const torch::Tensor& tensor) {
  const auto* bytes = static_cast<const unsigned char*>(tensor.data_ptr());
  uint64_t hash = 14695981039346656037ULL;
  for (size_t i = 0; i < tensor.nbytes(); ++i) hash = (hash ^ bytes[i]) * 1099511628211ULL;
  return hash;
}

TEST_P(AllReduceTest, IsOfThatKind) {
  EXPECT_STREQ(Make()->name(), TestWorld().size == 1 ? "single" : GetParam());
}

TEST_P(AllReduceTest, IsSharedMemoryOnlyWhereAllRanksWantIt) {
  if (TestWorld().size == 1) GTEST_SKIP() << "one rank has nobody to share with";
  setenv("TRAINER_SHARED_MEMORY", TestWorld().rank == 0 ? "0" : "1", 1);
  EXPECT_STREQ(MakeCommunicator(TestWorld(), torch::kCPU)->name(), "mpi");
}

TEST_P(AllReduceTest, SumsEverySize) {
  const auto communicator = Make();
  // Fewer elements than ranks, not divisible by ranks, eager and rendezvous messages.
  for (const int64_t count : {0, 1, 2, 3, 5, 7, 1000, 4099, 25'000, 1'000'003}) {
    torch::Tensor slice = Numbers(count, TestWorld().rank);
    communicator->StartAllReduce(slice);
    communicator->WaitAll();
    EXPECT_TRUE(torch::equal(slice, SumOfNumbers(count))) << count;
  }
}

TEST_P(AllReduceTest, SumsMoreThanOneSegment) {
  const auto communicator = Make();
  const int64_t count = (int64_t{16} << 20) + 12'345;
  torch::Tensor slice = Numbers(count, TestWorld().rank);
  communicator->StartAllReduce(slice);
  communicator->WaitAll();
  EXPECT_TRUE(torch::equal(slice, SumOfNumbers(count)));
}

TEST_P(AllReduceTest, ManySlicesOfOneBufferStepAfterStep) {
  const auto communicator = Make();
  const int64_t lengths[] = {10, 1, 30'000, 7, 250'000, 4096, 0, 65'537};
  int64_t total = 0;
  for (const int64_t length : lengths) total += length;
  for (int step = 0; step < 20; ++step) {
    torch::Tensor buffer = Numbers(total, TestWorld().rank + step);
    int64_t begin = 0;
    for (const int64_t length : lengths) {
      communicator->StartAllReduce(buffer.narrow(0, begin, length));
      begin += length;
    }
    communicator->WaitAll();
    EXPECT_TRUE(torch::equal(buffer, SumOfNumbers(total).add(step * TestWorld().size))) << "step " << step;
  }
}

// Sums of such numbers depend on the order of the terms in nearly every element.
torch::Tensor RoundingNumbers(int64_t count) {
  torch::manual_seed(TestWorld().rank);
  return torch::randn({count}) * torch::pow(10.0, torch::randint(-4, 4, {count}).to(torch::kFloat32));
}

TEST_P(AllReduceTest, GivesTheSameBitsOnAllRanksAndEveryTime) {
  for (const int64_t count : {1, 3, 1001, 100'003, 3'000'017}) {
    uint64_t first = 0;
    for (int run = 0; run < 3; ++run) {
      const auto communicator = Make();
      torch::Tensor slice = RoundingNumbers(count);
      communicator->StartAllReduce(slice);
      // The peers come at another time in each run: that must not matter.
      std::this_thread::sleep_for(std::chrono::milliseconds(((TestWorld().rank + run) % 3) * 5));
      communicator->WaitAll();
      const uint64_t hash = Hash(slice);
      EXPECT_TRUE(AllEqual(hash)) << count << " elements: ranks differ";
      if (run == 0) first = hash;
      EXPECT_EQ(hash, first) << count << " elements: run " << run << " differs from run 0";
    }
  }
}

TEST(AllReduceTestItself, TheDataOfTheBitTestCouldShowAnotherOrder) {
  // Were these sums exact, the test above could not fail. Three terms are the least whose order matters.
  torch::manual_seed(0);
  const auto draw = [] {
    return torch::randn({1000}) * torch::pow(10.0, torch::randint(-4, 4, {1000}).to(torch::kFloat32));
  };
  const torch::Tensor a = draw();
  const torch::Tensor b = draw();
  const torch::Tensor c = draw();
  EXPECT_GT(((a + b) + c).ne(a + (b + c)).sum().item<int64_t>(), 100);
}

TEST_P(AllReduceTest, GoesOnWhileTheCallerComputes) {
  if (TestWorld().size == 1) GTEST_SKIP() << "one rank has nobody to talk to";
  if (GetParam() != std::string_view("mpi")) GTEST_SKIP() << "in shared memory the caller itself sums";
  const auto communicator = Make();
  torch::Tensor slice = Numbers(500'000, TestWorld().rank);
  Barrier();
  communicator->StartAllReduce(slice);
  // Far longer than the sum takes; a sleeping core is a core for the communication thread.
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  const auto start = std::chrono::steady_clock::now();
  communicator->WaitAll();
  const auto waited = std::chrono::steady_clock::now() - start;
  EXPECT_TRUE(torch::equal(slice, SumOfNumbers(500'000)));
  EXPECT_LT(waited, std::chrono::milliseconds(250));
}

// As the flat gradient buffer of a model.
TEST_P(AllReduceTest, SumsBuffersOfItsOwn) {
  const auto communicator = Make();
  for (const int64_t count : {1, 7, 100'003}) {
    torch::Tensor buffer = communicator->MakeBuffer(count + 20, torch::kCPU);
    EXPECT_EQ(buffer.abs().sum().item<float>(), 0);
    torch::Tensor elsewhere = Numbers(300'000, TestWorld().rank);  // more than a desk holds
    for (int step = 0; step < 5; ++step) {
      buffer.narrow(0, 10, count).copy_(Numbers(count, TestWorld().rank + step));
      buffer.narrow(0, count + 10, 10).fill_(1);
      communicator->StartAllReduce(buffer.narrow(0, 10, count / 2));
      if (step == 0) communicator->StartAllReduce(elsewhere);
      communicator->StartAllReduce(buffer.narrow(0, 10 + count / 2, count - count / 2));
      communicator->WaitAll();
      EXPECT_TRUE(
          torch::equal(buffer.narrow(0, 10, count), SumOfNumbers(count).add(step * TestWorld().size)));
      EXPECT_EQ(buffer.narrow(0, 0, 10).abs().sum().item<float>(), 0) << "before the slice";
      EXPECT_EQ(buffer.narrow(0, count + 10, 10).sum().item<float>(), 10) << "behind the slice";
    }
    EXPECT_TRUE(torch::equal(elsewhere, SumOfNumbers(300'000)));
  }
}

TEST_P(AllReduceTest, ABufferOutlivesIt) {
  torch::Tensor buffer;
  {
    const auto communicator = Make();
    buffer = communicator->MakeBuffer(1000, torch::kCPU);
    buffer.fill_(1);
    communicator->StartAllReduce(buffer);
    communicator->WaitAll();
  }
  EXPECT_EQ(buffer.sum().item<float>(), 1000.0f * static_cast<float>(TestWorld().size));
}

// A run may go on over other hosts: then its bits must stay, too.
TEST(AllReduceTestItself, BothKindsGiveTheSameBits) {
  if (TestWorld().size == 1) GTEST_SKIP() << "one rank has one kind";
  for (const int64_t count : {3, 1001, 100'003, 600'017}) {
    std::vector<torch::Tensor> sums;
    for (const bool in_buffer : {false, true}) {
      for (const char* share : {"0", "1"}) {
        setenv("TRAINER_SHARED_MEMORY", share, 1);
        const auto communicator = MakeCommunicator(TestWorld(), torch::kCPU);
        torch::Tensor slice =
            in_buffer ? communicator->MakeBuffer(count, torch::kCPU) : torch::empty({count});
        slice.copy_(RoundingNumbers(count));
        communicator->StartAllReduce(slice);
        communicator->WaitAll();
        sums.push_back(slice);
      }
    }
    for (const auto& sum : sums) EXPECT_TRUE(torch::equal(sum, sums.front())) << count;
  }
}

TEST_P(AllReduceTest, IsRightWhileAllCoresAreBusy) {
  const auto communicator = Make();
  const torch::Tensor mean = torch::full({200, 200}, 1.0 / 200);
  torch::Tensor work = torch::eye(200);
  for (int step = 0; step < 5; ++step) {
    std::vector<torch::Tensor> slices;
    for (int bucket = 0; bucket < 6; ++bucket) {
      slices.push_back(Numbers(100'000 + bucket, TestWorld().rank));
      communicator->StartAllReduce(slices.back());
      for (int i = 0; i < 10; ++i) work = torch::mm(work, mean);
    }
    communicator->WaitAll();
    for (size_t i = 0; i < slices.size(); ++i) {
      EXPECT_TRUE(torch::equal(slices[i], SumOfNumbers(100'000 + static_cast<int64_t>(i))));
    }
  }
  EXPECT_NEAR(work[0][0].item<float>(), 1.0 / 200, 1e-5);  // the computing was real and unharmed
}

TEST_P(AllReduceTest, ALatePeerCountsAsTimeOfTheSum) {
  if (TestWorld().size == 1) GTEST_SKIP() << "one rank waits for nobody";
  const auto communicator = Make();
  torch::Tensor slice = torch::ones({1000});
  Barrier();
  if (TestWorld().rank == 0) std::this_thread::sleep_for(std::chrono::seconds(2));
  communicator->StartAllReduce(slice);
  communicator->WaitAll();
  const double seconds = communicator->TakeReduceSeconds();
  if (TestWorld().rank == 0) {
    EXPECT_GT(seconds, 0);
    EXPECT_LT(seconds, 1);
  } else {
    EXPECT_GT(seconds, 1);
    EXPECT_LT(seconds, 20);
  }
  EXPECT_EQ(communicator->TakeReduceSeconds(), 0);
}

TEST_P(AllReduceTest, CountsBytes) {
  const auto communicator = Make();
  communicator->StartAllReduce(torch::ones({1000}));
  communicator->StartAllReduce(torch::ones({10, 5}));
  communicator->WaitAll();
  EXPECT_EQ(communicator->TakeReducedBytes(), TestWorld().size == 1 ? 0 : 4200);
  EXPECT_EQ(communicator->TakeReducedBytes(), 0);
}

TEST_P(AllReduceTest, WaitingForNothingReturns) {
  const auto communicator = Make();
  communicator->WaitAll();
  communicator->WaitAll();
  EXPECT_TRUE(communicator->Health().ok());
}

TEST_P(AllReduceTest, RefusesWhatItCannotSum) {
  if (TestWorld().size == 1) GTEST_SKIP() << "a world of one touches no tensor";
  const auto communicator = Make();
  EXPECT_THROW(communicator->StartAllReduce(torch::ones({4}, torch::kFloat64)), Error);
  EXPECT_THROW(communicator->StartAllReduce(torch::ones({4, 4}).t().slice(0, 0, 2)), Error);
  communicator->WaitAll();
}

TEST_P(AllReduceTest, ControlCollectivesMayRunMeanwhile) {
  const auto communicator = Make();
  torch::Tensor slice = Numbers(2'000'000, TestWorld().rank);
  communicator->StartAllReduce(slice);
  EXPECT_EQ(AllReduceSum({1.0})[0], TestWorld().size);
  communicator->WaitAll();
  EXPECT_TRUE(torch::equal(slice, SumOfNumbers(2'000'000)));
}

TEST_P(AllReduceTest, TwoCommunicatorsDoNotMix) {
  const auto a = Make();
  const auto b = Make();
  torch::Tensor first = Numbers(300'000, TestWorld().rank);
  torch::Tensor second = Numbers(200'000, TestWorld().rank);
  // In opposite orders on odd and even ranks.
  const bool odd = TestWorld().rank % 2 == 1;
  (odd ? a : b)->StartAllReduce(odd ? first : second);
  (odd ? b : a)->StartAllReduce(odd ? second : first);
  a->WaitAll();
  b->WaitAll();
  EXPECT_TRUE(torch::equal(first, SumOfNumbers(300'000)));
  EXPECT_TRUE(torch::equal(second, SumOfNumbers(200'000)));
}

TEST_P(AllReduceTest, BroadcastsFromEachRootInAnyType) {
  const auto communicator = Make();
  for (int root = 0; root < TestWorld().size; ++root) {
    for (const auto type : {torch::kFloat32, torch::kInt64, torch::kBFloat16, torch::kBool, torch::kUInt8}) {
      const torch::Tensor expected =
          torch::arange(root, root + 5003).remainder(2 + root).to(type).view({-1, 1});
      torch::Tensor tensor = TestWorld().rank == root ? expected.clone() : torch::zeros_like(expected);
      communicator->Broadcast(tensor, root);
      EXPECT_TRUE(torch::equal(tensor, expected)) << "root " << root << ", " << type;
    }
    communicator->Broadcast(torch::empty({0}), root);
  }
}

TEST_P(AllReduceTest, RefusesWhatItCannotSend) {
  if (TestWorld().size == 1) GTEST_SKIP() << "a world of one touches no tensor";
  const auto communicator = Make();
  EXPECT_THROW(communicator->Broadcast(torch::ones({4, 4}).t().slice(0, 0, 2), 0), Error);
  EXPECT_THROW(communicator->Broadcast(torch::ones({4}), TestWorld().size), Error);
  EXPECT_THROW(communicator->Broadcast(torch::ones({4}), -1), Error);
}

}  // namespace
}  // namespace launcher
