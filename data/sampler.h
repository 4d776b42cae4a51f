#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace data {

// The order in which training sees the utterances: each epoch a permutation that is a function of (seed,
// epoch) alone, cut into global batches; the tail that fills none is dropped (another tail every epoch).
// Nothing in it knows of ranks: see Slice() for how they share a global batch. Immutable, hence thread-safe.
class Sampler {
 public:
  // `utterances`: distinct, at least `global_batch` of them, which is at least 1; std::invalid_argument
  // otherwise.
  Sampler(std::vector<int64_t> utterances, uint64_t seed, int64_t global_batch);

  uint64_t seed() const { return seed_; }
  int64_t global_batch() const { return global_batch_; }
  int64_t batches_per_epoch() const { return static_cast<int64_t>(utterances_.size()) / global_batch_; }
  std::span<const int64_t> utterances() const { return utterances_; }

  // The epoch's utterances in order: batches_per_epoch() * global_batch() of them, global batch after global
  // batch.
  std::vector<int64_t> Order(int64_t epoch) const;

 private:
  std::vector<int64_t> utterances_;
  uint64_t seed_;
  int64_t global_batch_;
};

// The part of global batch `batch` of `order` (see Sampler::Order) that rank `rank` of `world_size` takes as
// its micro-batch `micro` of `accumulate`: with L = global_batch / world_size, rank r has [r * L, (r + 1) *
// L), of which micro-batch j is the j-th of `accumulate` equal parts. global_batch must divide by world_size
// * accumulate.
std::span<const int64_t> Slice(std::span<const int64_t> order, int64_t global_batch, int64_t batch, int rank,
                               int world_size, int64_t accumulate, int64_t micro);

// Where the crop of an utterance begins in an epoch: uniform over [0, frames - crop_frames], 0 where it is
// not longer than the crop. A function of its arguments alone.
int64_t CropStart(uint64_t seed, int64_t epoch, int64_t utterance, int64_t frames, int64_t crop_frames);

// How many frames the crops of global batch `batch` of an epoch have: uniform over [min_frames, max_frames],
// 1 <= min_frames <= max_frames. A function of its arguments alone, hence the same for all parts of the
// batch.
int64_t CropLength(uint64_t seed, int64_t epoch, int64_t batch, int64_t min_frames, int64_t max_frames);

}  // namespace data
