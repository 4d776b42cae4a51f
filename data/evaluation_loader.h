#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "data/batch.h"
#include "data/dataset.h"
#include "data/prefetcher.h"

namespace data {

// Utterances each exactly once over all ranks, longest first, padded with zeros. Which utterances share a
// batch depends on their lengths alone, not on world_size; the batches are dealt to the ranks in turn, so the
// ranks' numbers of batches differ by one at most. Memory: prefetch_batches + 1 batches and 8 bytes an
// utterance.
class EvaluationLoader {
 public:
  struct Options {
    int64_t crop_frames = 0;  // only the first so many frames; 0: whole utterances
    int rank = 0;
    int world_size = 1;
    int64_t frame_budget = 16384;  // B * T at most, but for a single utterance longer than that
    int64_t prefetch_batches = 2;  // batches made ahead
    bool pinned = false;           // page-locked memory (needs CUDA)
    std::vector<int64_t>
        class_of_speaker;  // data set's speaker -> model's class, -1 = none; empty: the same numbers
  };

  // std::invalid_argument: options that cannot be, an utterance that is not in the data set.
  EvaluationLoader(std::shared_ptr<const Dataset> dataset, std::vector<int64_t> utterances, Options options);

  // The next batch of this rank, valid until the next call; nullptr at the end. Errors of Dataset::Read. One
  // thread.
  absl::StatusOr<const Batch*> Next() { return prefetcher_->Next(); }

  // Over all ranks.
  int64_t total_batches() const { return static_cast<int64_t>(begins_.size()) - 1; }

 private:
  int64_t Frames(int64_t u) const;
  absl::StatusOr<bool> Fill(BatchBuffer* buffer);

  const std::shared_ptr<const Dataset> dataset_;
  const Options options_;
  std::vector<int64_t> utterances_;         // longest first
  std::vector<int64_t> begins_;             // where each batch begins in utterances_, then their number
  int64_t next_;                            // batch to fill
  std::unique_ptr<Prefetcher> prefetcher_;  // last: its thread uses all of the above
};

}  // namespace data
