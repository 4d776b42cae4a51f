#pragma once

// Sums of gradients over all ranks, overlapped with the computation of further gradients.
//
//   for each full bucket, while backward goes on:  communicator->StartAllReduce(bucket);
//   before the optimizer reads them:               communicator->WaitAll();
//
// Note [The same bits everywhere]
// A sum of floats depends on the order of its terms. Training stays in step over ranks only if each rank gets
// the very same bits, and a run can be repeated only if the next run gets them too. All implementations give
// that for a fixed number of ranks and fixed slice sizes: those of CPUs by algorithms of ours in which each
// element is added up in one place and one order (all_reduce.h, shared_communicator.h), NCCL's because each
// element is reduced along one path and the result is then copied.
//
// Threads: an object is used by one thread at a time (on CUDA also autograd's threads: they start, the main
// thread waits), but for Health() and Abort(). Every rank must make the same calls in the same order.

#include <torch/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "launcher/mpi_session.h"

namespace launcher {

class Communicator {
 public:
  virtual ~Communicator() = default;

  // A buffer (count) of float32 zeros on `device`, from which slices are summed without a copy. Collective:
  // every rank must ask for the same one. It may outlive the communicator.
  virtual torch::Tensor MakeBuffer(int64_t count, torch::Device device);

  // Sums `slice` (contiguous float32 on the communicator's device, any shape) over all ranks, in place.
  // Returns at once; the sum is done meanwhile, or in WaitAll(). On CUDA it starts when the caller's current
  // stream has got here. Until WaitAll() the slice must be neither read nor written. The slice's storage is
  // held until then. Throws Error for a tensor of another kind.
  virtual void StartAllReduce(torch::Tensor slice) = 0;

  // CPU: blocks until every started sum is done. CUDA: makes the current stream wait for them; the host goes
  // on. Throws Error where one of them failed. Without any started it does nothing.
  virtual void WaitAll() = 0;

  // Root's contents in `tensor` (contiguous, any type, on the communicator's device) on every rank. Blocks
  // the caller (CPU) or its current stream (CUDA). Not between StartAllReduce() and WaitAll().
  virtual void Broadcast(torch::Tensor tensor, int root) = 0;

  // OK, or what has gone wrong behind the caller's back (NCCL's asynchronous errors, a failed sum). Cheap:
  // for every step. Any thread; OK, too, where another thread is busy with the communicator just now.
  virtual absl::Status Health() = 0;

  // Seconds in which sums were under way since the last call, whether computing hid them or not; of a sum
  // that waits for a late rank, the wait too. CPU: wall time. CUDA: by events and without synchronising, so
  // that the newest sums may be counted by a later call; sums captured into a CUDA graph are not counted.
  virtual double TakeReduceSeconds() = 0;

  // Bytes of the slices given to StartAllReduce() since the last call.
  virtual int64_t TakeReducedBytes() = 0;

  // Told of each sum: its bytes, and when it began and ended by the host's clock. CPU: called by the
  // thread that sums, the caller's or one for communication; a sum that waits for a late rank lasts as long.
  // CUDA: called by the thread that starts the sum, with the time that queueing it took, for the device does
  // it by itself.
  using Observer = std::function<void(int64_t bytes, std::chrono::steady_clock::time_point start,
                                      std::chrono::steady_clock::time_point end)>;

  // From now on, when no sum is under way, `observer` is told; an empty one ends that.
  void Observe(Observer observer) { observer_ = std::move(observer); }

  // Told of each sum as it begins and when it is `done`, numbered from 0 since the last WaitAll(). CPU:
  // called by the thread that sums. CUDA: by the thread that starts the sum, when it has been queued;
  // that it is done is not told.
  using Watcher = std::function<void(int sum, bool done)>;

  // From now on, when no sum is under way, `watcher` is told; an empty one ends that.
  void Watch(Watcher watcher) { watcher_ = std::move(watcher); }

  // Ends what is under way on the device, for a process that is about to end: whoever uses the communicator
  // now or later may be blocked for ever. Any thread.
  virtual void Abort() {}

  // "nccl" | "shared memory" | "mpi" | "single"
  virtual const char* name() const = 0;

 protected:
  // Throws Error where StartAllReduce cannot take `slice`.
  static void RequireSummable(const torch::Tensor& slice, torch::Device device);

  Observer observer_;
  Watcher watcher_;
};

// Collective: NCCL for a CUDA device; on CPUs shared memory where all ranks are on one host, else, or with
// TRAINER_SHARED_MEMORY=0 in the environment, MPI. A world of one gets "single", which does nothing at
// all; with TRAINER_FORCE_NCCL=1 in the environment a lone CUDA rank gets NCCL nevertheless, for tests.
// Destroy it before the MpiSession ends. Throws Error where communication cannot be set up.
std::unique_ptr<Communicator> MakeCommunicator(const World& world, torch::Device device);

}  // namespace launcher
