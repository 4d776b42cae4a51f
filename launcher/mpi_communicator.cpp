#include "launcher/mpi_communicator.h"

#include <pthread.h>

#include <chrono>
#include <utility>

#include "launcher/error.h"
#include "launcher/mpi_broadcast.h"
#include "launcher/waiting.h"

namespace launcher::internal {

MpiCommunicator::MpiCommunicator(const World& world)
    : size_(world.size), exceptions_at_start_(std::uncaught_exceptions()) {
  LAUNCHER_MPI(MPI_Comm_dup(MPI_COMM_WORLD, &comm_),
               "Every rank must make its Communicator at the same point");
  // A duplicate inherits MPI_ERRORS_RETURN from the original, which MpiSession has set.
  ring_ = std::make_unique<RingAllReduce>(comm_);
  worker_ = std::thread([this] { Work(); });
}

MpiCommunicator::~MpiCommunicator() {
  bool idle;
  {
    const std::lock_guard lock(mutex_);
    leaving_ = true;
    idle = slices_.empty() && failure_ == nullptr && std::uncaught_exceptions() == exceptions_at_start_;
  }
  started_.notify_one();
  worker_.join();
  if (idle) {
    // Collective, but without a word to the peers: it cannot hang. What could it fail of that is worth dying
    // for?
    MPI_Comm_free(&comm_);
    return;
  }
  // MPI may still read and write these at any time: they must outlive the process.
  new std::deque<torch::Tensor>(std::move(slices_));
  static_cast<void>(ring_.release());
}

void MpiCommunicator::Work() {
  pthread_setname_np(pthread_self(), "all-reduce");
  std::unique_lock lock(mutex_);
  while (true) {
    started_.wait(lock, [this] { return leaving_ || !slices_.empty(); });
    if (leaving_) return;
    float* data = slices_.front().data_ptr<float>();
    const int64_t count = slices_.front().numel();
    const int sum = sum_++;
    lock.unlock();
    if (watcher_) watcher_(sum, /*done=*/false);
    std::exception_ptr failure;
    bool done = false;
    const auto start = std::chrono::steady_clock::now();
    try {
      done = ring_->Run(data, count, leaving_);
    } catch (...) {
      failure = std::current_exception();
    }
    const auto end = std::chrono::steady_clock::now();
    const std::chrono::duration<double> took = end - start;
    if (watcher_ && done) watcher_(sum, /*done=*/true);
    if (observer_ && done) observer_(count * static_cast<int64_t>(sizeof(float)), start, end);
    lock.lock();
    reduce_seconds_ += took.count();
    if (failure != nullptr) {
      failure_ = failure;
      finished_.notify_all();
    }
    if (!done) return;
    slices_.pop_front();
    if (slices_.empty()) finished_.notify_all();
  }
}

void MpiCommunicator::StartAllReduce(torch::Tensor slice) {
  RequireSummable(slice, torch::kCPU);
  reduced_bytes_ += static_cast<int64_t>(slice.nbytes());
  if (slice.numel() == 0) return;
  {
    const std::lock_guard lock(mutex_);
    slices_.push_back(std::move(slice));
  }
  started_.notify_one();
}

void MpiCommunicator::WaitAll() {
  const WaitingForRanks waiting;
  std::unique_lock lock(mutex_);
  finished_.wait(lock, [this] { return slices_.empty() || failure_ != nullptr; });
  sum_ = 0;
  if (failure_ != nullptr) std::rethrow_exception(failure_);
}

void MpiCommunicator::Broadcast(torch::Tensor tensor, int root) {
  {
    const std::lock_guard lock(mutex_);
    if (failure_ != nullptr) std::rethrow_exception(failure_);
    LAUNCHER_REQUIRE(slices_.empty(), "Call WaitAll() before Broadcast()");
  }
  BroadcastOverMpi(std::move(tensor), root, size_, comm_);
}

absl::Status MpiCommunicator::Health() {
  const std::lock_guard lock(mutex_);
  if (failure_ == nullptr) return absl::OkStatus();
  try {
    std::rethrow_exception(failure_);
  } catch (const std::exception& error) {
    return absl::UnavailableError(error.what());
  }
}

double MpiCommunicator::TakeReduceSeconds() {
  const std::lock_guard lock(mutex_);
  return std::exchange(reduce_seconds_, 0.0);
}

int64_t MpiCommunicator::TakeReducedBytes() { return std::exchange(reduced_bytes_, 0); }

}  // namespace launcher::internal
