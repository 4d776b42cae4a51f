#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "data/batch.h"

namespace data {

// A Batch and the memory behind it, used again and again.
class BatchBuffer {
 public:
  // Takes memory for batches of up to `count` utterances and `frames` frames, so that Resize() within them
  // takes none.
  void Reserve(int64_t count, int64_t frames, int64_t n_mels, bool pinned);

  // Shapes batch().mels as (count, frames, n_mels), lengths and speakers as (count), in this buffer's memory,
  // which grows where needed and never shrinks. `pinned`: page-locked, for fast copies to a GPU. Contents are
  // undefined.
  void Resize(int64_t count, int64_t frames, int64_t n_mels, bool pinned);
  Batch& batch() { return batch_; }

 private:
  Batch batch_;
  torch::Tensor mels_;      // flat
  torch::Tensor lengths_;   // flat
  torch::Tensor speakers_;  // flat
};

// Fills batches ahead on a thread of its own: at most `depth` wait, in depth + 1 buffers.
class Prefetcher {
 public:
  // Fills the next batch into the buffer; false: there is no further one. Called on the prefetch thread only.
  using Fill = std::function<absl::StatusOr<bool>(BatchBuffer*)>;

  Prefetcher(int64_t depth, Fill fill);
  ~Prefetcher();
  Prefetcher(const Prefetcher&) = delete;
  Prefetcher& operator=(const Prefetcher&) = delete;

  // The next batch, valid until the next call; nullptr at the end; an error of Fill, which then stays. One
  // thread.
  absl::StatusOr<const Batch*> Next();

 private:
  void Run();

  const Fill fill_;
  std::vector<BatchBuffer> buffers_;
  std::mutex mutex_;
  std::condition_variable changed_;
  int64_t filled_ = 0;  // batches made
  int64_t taken_ = 0;   // batches handed out
  bool ended_ = false;
  bool stop_ = false;
  absl::Status status_;
  std::thread thread_;
};

}  // namespace data
