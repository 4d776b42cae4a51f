#pragma once

// The Communicator of CPU ranks on several hosts: a thread beside the computing one sums slices over MPI in
// the order they were started.

#include <mpi.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>

#include "launcher/all_reduce.h"
#include "launcher/communicator.h"

namespace launcher::internal {

// Talks on a duplicate of MPI_COMM_WORLD, so its messages cannot meet those of the control collectives, which
// the main thread may use at any time. Collective to make and to destroy. Destroyed with sums still under way
// (an exception is unwinding) it does not wait for peers that may never come: it gives up, and leaks what MPI
// may still write to.
class MpiCommunicator final : public Communicator {
 public:
  explicit MpiCommunicator(const World& world);
  ~MpiCommunicator() override;

  void StartAllReduce(torch::Tensor slice) override;
  void WaitAll() override;
  void Broadcast(torch::Tensor tensor, int root) override;
  absl::Status Health() override;
  double TakeReduceSeconds() override;
  int64_t TakeReducedBytes() override;
  const char* name() const override { return "mpi"; }

 private:
  void Work();

  const int size_;
  const int exceptions_at_start_;
  MPI_Comm comm_ = MPI_COMM_NULL;
  std::unique_ptr<RingAllReduce> ring_;  // the worker's
  int64_t reduced_bytes_ = 0;

  std::mutex mutex_;
  std::condition_variable started_;   // a slice was started, or it is time to leave
  std::condition_variable finished_;  // no slice is left, or the worker failed
  std::deque<torch::Tensor> slices_;  // guarded by mutex_; the front one is being summed
  int sum_ = 0;                       // guarded by mutex_; the next one's number
  std::exception_ptr failure_;        // guarded by mutex_; once set the worker is gone
  double reduce_seconds_ = 0;         // guarded by mutex_
  std::atomic<bool> leaving_{false};  // set under mutex_, read by the worker's waits without it
  std::thread worker_;                // last: uses all of the above
};

}  // namespace launcher::internal
