#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "data/augment.h"
#include "data/batch.h"
#include "data/dataset.h"
#include "data/prefetcher.h"
#include "data/sampler.h"

namespace data {

// This rank's part of every global batch, epoch after epoch without end, cropped at random, augmented, and
// made ahead on a thread of its own. Which utterances, which crops and what is done to them is a function of
// (seeds, batch number) alone, so N ranks see together what one rank sees, and a loader started at batch n
// goes on exactly as one that came there. Memory: prefetch_batches + 1 micro-batches of the longest crops,
// whatever the data set's size, and 8 bytes an utterance for the order (as many again with babble).
class TrainLoader {
 public:
  // Told of each micro-batch that has been made: of which global batch since batch 0 of epoch 0, and when.
  using Observer = std::function<void(int64_t global_batch, std::chrono::steady_clock::time_point start,
                                      std::chrono::steady_clock::time_point end)>;

  struct Options {
    int64_t crop_frames = 128;    // T of every batch, or the largest T
    int64_t min_crop_frames = 0;  // T of each global batch: uniform from here to crop_frames; 0: crop_frames
    int rank = 0;
    int world_size = 1;
    int64_t accumulate = 1;        // micro-batches a global batch and rank
    int64_t prefetch_batches = 4;  // micro-batches made ahead
    bool pinned = false;           // page-locked memory (needs CUDA)
    std::vector<int64_t>
        class_of_speaker;  // data set's speaker -> model's class, -1 = none; empty: the same numbers
    uint64_t seed = 0;     // of the crops and of the augmentation
    AugmentOptions augment{};
    Observer observer;  // called on the loader's thread; may be empty
  };

  // `first_batch`: global batches already consumed since batch 0 of epoch 0. std::invalid_argument: options
  // that cannot be, a global batch that does not divide by world_size * accumulate, an utterance that is not
  // in the data set or whose speaker has no class, augmentation that CheckAugment refuses.
  TrainLoader(std::shared_ptr<const Dataset> dataset, Sampler sampler, Options options, int64_t first_batch);

  // The next micro-batch: global_batch / (world_size * accumulate) utterances. Valid until the next call, so
  // copies from it to a GPU must have ended by then. Errors of Dataset::Read. One thread.
  absl::StatusOr<const Batch*> Next() { return prefetcher_->Next(); }

 private:
  absl::StatusOr<bool> Fill(BatchBuffer* buffer);

  const std::shared_ptr<const Dataset> dataset_;
  const Sampler sampler_;
  const Options options_;
  std::optional<Augmenter> augmenter_;      // none: crops stay as they are
  int64_t next_;                            // global batch since batch 0 of epoch 0
  int64_t micro_ = 0;                       // micro-batch in it
  int64_t epoch_ = -1;                      // of order_
  std::vector<int64_t> order_;              // Sampler::Order(epoch_)
  std::unique_ptr<Prefetcher> prefetcher_;  // last: its thread uses all of the above
};

// Reads `count` frames of utterance `u` from `start` as row `row` of `batch` (sized before), zero after them,
// and notes length, number and class. `class_of_speaker` as in TrainLoader::Options.
absl::Status FillRow(const Dataset& dataset, int64_t u, int64_t start, int64_t count,
                     const std::vector<int64_t>& class_of_speaker, int64_t row, Batch* batch);

}  // namespace data
