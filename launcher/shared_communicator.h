#pragma once

// The Communicator of CPU ranks that are all on one host: the computing thread itself adds up what the others
// have in memory that all of them see.
//
// Note [Why nothing overlaps here]
// CPU ranks of one host have no core to spare, and a sum in shared memory is work of the cores alone: done
// beside backward it takes as much time from it. Handing it to a thread costs the hand-over and what the two
// threads take from each other's caches. So the sums are done in WaitAll(), all of a step at once, with two
// meetings of the ranks.
//
// Note [The same order as the ring]
// Element i of a slice is in piece p = floor(i ranks / count), roughly; it is added up as x_p + x_p+1 + ...
// around the ring, which is the order of all_reduce.h. So a run that goes on over several hosts, with as many
// ranks, keeps its bits.

#include <mpi.h>

#include <memory>
#include <vector>

#include "launcher/communicator.h"
#include "launcher/shared_memory.h"

namespace launcher::internal {

class SharedCommunicator final : public Communicator {
 public:
  // Collective. Null, on every rank, where one of them does not want it, the ranks are not all on one host or
  // may not see each other's memory.
  static std::unique_ptr<SharedCommunicator> Make(const World& world, bool wanted);
  ~SharedCommunicator() override;

  torch::Tensor MakeBuffer(int64_t count, torch::Device device) override;
  void StartAllReduce(torch::Tensor slice) override;
  void WaitAll() override;
  void Broadcast(torch::Tensor tensor, int root) override;
  absl::Status Health() override { return absl::OkStatus(); }
  double TakeReduceSeconds() override;
  int64_t TakeReducedBytes() override;
  const char* name() const override { return "shared memory"; }

 private:
  SharedCommunicator(const World& world, MPI_Comm comm, std::unique_ptr<SharedMemory> desk);

  void Meet();
  void Sum(float* slice, int64_t count);
  void SumRange(int64_t begin, int64_t end, int64_t count, int64_t offset) const;

  MPI_Comm comm_;
  const int rank_;
  const int size_;
  const int exceptions_at_start_;
  // Of each rank: how often it has met the others, and room for slices that are not in a buffer of
  // MakeBuffer().
  const std::unique_ptr<SharedMemory> desk_;
  uint32_t meetings_ = 0;
  std::vector<std::shared_ptr<SharedMemory>> buffers_;
  std::vector<torch::Tensor> slices_;  // started, in order
  std::vector<float*> bases_;          // of the slice that is being summed, in each rank's memory
  double reduce_seconds_ = 0;
  int64_t reduced_bytes_ = 0;
};

}  // namespace launcher::internal
