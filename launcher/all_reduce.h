#pragma once

// The sum of float vectors over all ranks, as a ring of plain sends and receives.
//
// Note [Why a ring of our own]
// Bits: rank r's piece of the slice travels once around the ring, each rank adding its own numbers, and the
// finished sum is then copied to all. Each element is thus added up in one place and one order, which is what
// training needs (Note [The same bits everywhere] in communicator.h), whatever algorithm the MPI library
// would have picked for this size.
//
// Time: with two ranks on two cores (AMD Zen 5, Open MPI 4.1, shared memory), each rank computing in one
// thread while a second one communicates, milliseconds that a step takes longer than without communication,
// medians of 50 steps:
//                                                         8 x 100 KB   8 x 1 MB   2 x 10 MB
//   this ring, polled (mpi_wait.h)                              0.14        1.3         4.5
//   MPI_Allreduce, blocking, mpi_yield_when_idle=1              0.16        1.4         4.4
//   MPI_Iallreduce, polled in the same way                      0.21        2.2         5.4
//   MPI_Iallreduce, driven by the main thread                   0.14        2.3        13.2
// The blocking call is as fast, but spins while a peer is late, and cannot be given up when the run is.

#include <mpi.h>

#include <atomic>
#include <cstdint>
#include <vector>

namespace launcher::internal {

// Not thread-safe. The ranks of `comm` must make the same calls in the same order, with nothing else using
// `comm`'s messages meanwhile. Does not own `comm`.
class RingAllReduce {
 public:
  explicit RingAllReduce(MPI_Comm comm);

  // Sums data[0, count) over all ranks in place; any count. Returns false if `cancel` became true meanwhile:
  // then sends and receives are left open, and neither `data` nor this object may ever be freed. Throws Error
  // where MPI fails (same caution). Needs memory for count / ranks floats, at most 64 MiB / ranks.
  bool Run(float* data, int64_t count, const std::atomic<bool>& cancel);

 private:
  bool RunSegment(float* data, int64_t count, const std::atomic<bool>& cancel);
  // Sends to the next rank while receiving from the one before.
  bool Exchange(const float* out, int64_t out_count, float* in, int64_t in_count, int tag,
                const std::atomic<bool>& cancel);

  MPI_Comm comm_;
  int rank_ = 0;
  int size_ = 1;
  std::vector<float> received_;
};

}  // namespace launcher::internal
