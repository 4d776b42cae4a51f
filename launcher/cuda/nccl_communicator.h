#pragma once

// The Communicator of CUDA ranks: NCCL on a stream of its own.
//
// Note [Streams]
// Work of the caller's current stream C, and of the communication stream N:
//   StartAllReduce   C: record `handover_`      N: wait for it, all-reduce
//   WaitAll          N: record `handover_`      C: wait for it
// The host waits for nothing in either, and N is forked from C and joined to it, so that a whole step may be
// captured into a CUDA graph. An event may be recorded anew at once: a wait refers to the recording before
// it.
//
// Note [No record_stream]
// The caching allocator hands freed memory to the stream it was allocated on. A slice is therefore held from
// its start to WaitAll(): from then on whatever that stream does comes after the sum. Only a slice that was
// allocated on another stream than the one that calls WaitAll() must be kept alive by its owner; flat
// gradient buffers live as long as the model anyway.
//
// Note [Abort from another thread]
// ncclCommAbort frees what any other call of NCCL on the same communicator uses. So each such call holds
// `using_`, and Abort(), which a watchdog's thread calls while the main thread may be anywhere, takes it and
// never gives it back: the main thread, should it get that far, waits there for the end of the process and
// has nothing to say. Where the main thread is stuck inside NCCL itself, holding it, Abort() gives up after a
// second: the end of the process frees the device as well. What waits for the device (events, streams) does
// not hold it, which is where a stalled run is stuck.

#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>
#include <nccl.h>

#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "launcher/communicator.h"

namespace launcher::internal {

// Collective to make. Destroying it waits for its stream and leaves NCCL's world in good order; where NCCL
// has failed or an exception is unwinding it aborts instead, without waiting for anyone.
class NcclCommunicator final : public Communicator {
 public:
  NcclCommunicator(const World& world, torch::Device device);
  ~NcclCommunicator() override;

  void StartAllReduce(torch::Tensor slice) override;
  void WaitAll() override;
  void Broadcast(torch::Tensor tensor, int root) override;
  absl::Status Health() override;
  void Abort() override;
  double TakeReduceSeconds() override;
  int64_t TakeReducedBytes() override;
  const char* name() const override { return "nccl"; }

 private:
  // An event, destroyed with the object.
  class Event {
   public:
    explicit Event(unsigned flags);
    ~Event();
    Event(const Event&) = delete;
    Event& operator=(const Event&) = delete;
    cudaEvent_t get() const { return event_; }

   private:
    cudaEvent_t event_ = nullptr;
  };
  // A stream of the highest priority that does not wait for the default stream, destroyed with the object.
  class Stream {
   public:
    Stream();
    ~Stream();
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;
    cudaStream_t get() const { return stream_; }

   private:
    cudaStream_t stream_ = nullptr;
  };
  // Stamps of the communication stream before and after a sum.
  struct Span {
    Event begin{cudaEventDefault};
    Event end{cudaEventDefault};
  };

  void Fork(cudaStream_t current);  // the communication stream waits for `current`
  void Join(cudaStream_t current);  // and the reverse

  const torch::Device device_;
  const int size_;
  int exceptions_at_start_;
  Stream stream_;
  Event handover_{cudaEventDisableTiming};
  std::timed_mutex using_;                    // see Note [Abort from another thread]
  ncclComm_t comm_ = nullptr;                 // used under using_
  int sum_ = 0;                               // the next one's number
  std::vector<torch::Tensor> held_;           // slices between StartAllReduce() and WaitAll()
  std::deque<std::unique_ptr<Span>> sums_;    // not yet counted, oldest first
  std::vector<std::unique_ptr<Span>> spare_;  // to be used again
  int64_t reduced_bytes_ = 0;
};

}  // namespace launcher::internal
