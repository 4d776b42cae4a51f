#include "launcher/shared_communicator.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <exception>
#include <utility>

#include "launcher/control.h"
#include "launcher/error.h"
#include "launcher/mpi_broadcast.h"
#include "launcher/patience.h"
#include "launcher/waiting.h"

namespace launcher::internal {
namespace {

constexpr char kMakeHint[] = "Every rank must make its Communicator at the same point";

// A desk: a cache line that tells how often its rank has met the others, then floats.
constexpr size_t kDeskHead = 64;
constexpr int64_t kDeskFloats = int64_t{256} << 10;
constexpr int64_t kBlock = 1024;  // floats that are summed at a time: they stay in the first cache

std::atomic_ref<uint32_t> MeetingsOn(std::byte* desk) {
  return std::atomic_ref<uint32_t>(*reinterpret_cast<uint32_t*>(desk));
}
float* FloatsOn(std::byte* desk) { return reinterpret_cast<float*>(desk + kDeskHead); }

}  // namespace

std::unique_ptr<SharedCommunicator> SharedCommunicator::Make(const World& world, bool wanted) {
  const double possible = wanted && world.local_size == world.size ? 1 : 0;
  if (AllReduceSum({possible})[0] < world.size) return nullptr;
  MPI_Comm comm = MPI_COMM_NULL;
  LAUNCHER_MPI(MPI_Comm_dup(MPI_COMM_WORLD, &comm), kMakeHint);
  auto desk = SharedMemory::Make(comm, kDeskHead + kDeskFloats * sizeof(float));
  if (desk == nullptr) {
    MPI_Comm_free(&comm);
    return nullptr;
  }
  return std::unique_ptr<SharedCommunicator>(new SharedCommunicator(world, comm, std::move(desk)));
}

SharedCommunicator::SharedCommunicator(const World& world, MPI_Comm comm, std::unique_ptr<SharedMemory> desk)
    : comm_(comm),
      rank_(world.rank),
      size_(world.size),
      exceptions_at_start_(std::uncaught_exceptions()),
      desk_(std::move(desk)),
      bases_(static_cast<size_t>(world.size)) {}

SharedCommunicator::~SharedCommunicator() {
  // Collective, but without a word to the peers. Not where they may never come to it.
  if (std::uncaught_exceptions() == exceptions_at_start_) MPI_Comm_free(&comm_);
}

torch::Tensor SharedCommunicator::MakeBuffer(int64_t count, torch::Device device) {
  LAUNCHER_REQUIRE(device.is_cpu(), "MakeBuffer makes tensors on this communicator's device");
  std::shared_ptr<SharedMemory> buffer =
      SharedMemory::Make(comm_, static_cast<size_t>(count) * sizeof(float));
  // No memory that can be shared: then slices go over the desks.
  if (buffer == nullptr) return Communicator::MakeBuffer(count, device);
  buffers_.push_back(buffer);
  return torch::from_blob(
      buffer->of(rank_), {count}, [buffer](void*) {}, torch::kFloat32);
}

void SharedCommunicator::StartAllReduce(torch::Tensor slice) {
  RequireSummable(slice, torch::kCPU);
  reduced_bytes_ += static_cast<int64_t>(slice.nbytes());
  if (slice.numel() > 0) slices_.push_back(std::move(slice));
}

void SharedCommunicator::WaitAll() {
  const WaitingForRanks waiting;
  if (slices_.empty()) return;
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  auto begin = start;
  if (watcher_) watcher_(0, /*done=*/false);
  Meet();  // everyone's numbers are there
  const int count = static_cast<int>(slices_.size());
  for (int i = 0; i < count; ++i) {
    auto& slice = slices_[static_cast<size_t>(i)];
    if (watcher_ && i > 0) watcher_(i, /*done=*/false);
    Sum(slice.data_ptr<float>(), slice.numel());
    if (i + 1 == count) Meet();  // everyone has written its sums
    const auto end = Clock::now();
    if (watcher_) watcher_(i, /*done=*/true);
    if (observer_) observer_(static_cast<int64_t>(slice.nbytes()), begin, end);
    begin = end;
  }
  slices_.clear();
  reduce_seconds_ += std::chrono::duration<double>(Clock::now() - start).count();
}

void SharedCommunicator::Meet() {
  const uint32_t now = ++meetings_;
  MeetingsOn(desk_->of(rank_)).store(now, std::memory_order_release);
  for (int rank = 0; rank < size_; ++rank) {
    const auto theirs = MeetingsOn(desk_->of(rank));
    // The difference, for the count may start again from 0.
    for (Patience patience; static_cast<int32_t>(theirs.load(std::memory_order_acquire) - now) < 0;)
      patience.Wait();
  }
}

void SharedCommunicator::Sum(float* slice, int64_t count) {
  const auto own_part = [&](int64_t begin, int64_t length, int64_t offset) {
    SumRange(begin + length * rank_ / size_, begin + length * (rank_ + 1) / size_, count, offset);
  };
  for (const auto& buffer : buffers_) {
    const auto offset = reinterpret_cast<std::byte*>(slice) - buffer->of(rank_);
    if (offset < 0 || offset >= static_cast<ptrdiff_t>(buffer->bytes())) continue;
    for (int rank = 0; rank < size_; ++rank) {
      bases_[static_cast<size_t>(rank)] = reinterpret_cast<float*>(buffer->of(rank) + offset);
    }
    own_part(0, count, 0);
    return;
  }
  for (int rank = 0; rank < size_; ++rank) bases_[static_cast<size_t>(rank)] = FloatsOn(desk_->of(rank));
  float* desk = bases_[static_cast<size_t>(rank_)];
  for (int64_t at = 0; at < count; at += kDeskFloats) {
    const int64_t length = std::min(kDeskFloats, count - at);
    std::memcpy(desk, slice + at, static_cast<size_t>(length) * sizeof(float));
    Meet();
    own_part(at, length, at);
    Meet();
    std::memcpy(slice + at, desk, static_cast<size_t>(length) * sizeof(float));
  }
}

// Sums the elements [begin, end) of a slice of `count`, which begin at `offset` in each of bases_, for all
// ranks.
void SharedCommunicator::SumRange(int64_t begin, int64_t end, int64_t count, int64_t offset) const {
  std::array<float, kBlock> sum;
  for (int piece = 0; piece < size_; ++piece) {
    const int64_t piece_end = std::min(end, count * (piece + 1) / size_);
    for (int64_t at = std::max(begin, count * piece / size_); at < piece_end; at += kBlock) {
      const int64_t length = std::min(kBlock, piece_end - at);
      const size_t bytes = static_cast<size_t>(length) * sizeof(float);
      const auto of = [&](int rank) { return bases_[static_cast<size_t>(rank)] + (at - offset); };
      std::memcpy(sum.data(), of(piece), bytes);
      for (int round = 1; round < size_; ++round) {
        const float* theirs = of((piece + round) % size_);
        for (int64_t i = 0; i < length; ++i) sum[static_cast<size_t>(i)] += theirs[i];
      }
      for (int rank = 0; rank < size_; ++rank) std::memcpy(of(rank), sum.data(), bytes);
    }
  }
}

void SharedCommunicator::Broadcast(torch::Tensor tensor, int root) {
  LAUNCHER_REQUIRE(slices_.empty(), "Call WaitAll() before Broadcast()");
  BroadcastOverMpi(std::move(tensor), root, size_, comm_);
}

double SharedCommunicator::TakeReduceSeconds() { return std::exchange(reduce_seconds_, 0.0); }

int64_t SharedCommunicator::TakeReducedBytes() { return std::exchange(reduced_bytes_, 0); }

}  // namespace launcher::internal
