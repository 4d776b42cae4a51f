#include "data/sampler.h"

#include <stdexcept>
#include <utility>

#include "absl/strings/str_cat.h"
#include "data/random.h"

namespace data {

Sampler::Sampler(std::vector<int64_t> utterances, uint64_t seed, int64_t global_batch)
    : utterances_(std::move(utterances)), seed_(seed), global_batch_(global_batch) {
  if (global_batch < 1 || static_cast<int64_t>(utterances_.size()) < global_batch) {
    throw std::invalid_argument(
        absl::StrCat("a global batch of ", global_batch, " out of ", utterances_.size(), " utterances"));
  }
}

std::vector<int64_t> Sampler::Order(int64_t epoch) const {
  std::vector<int64_t> order = utterances_;
  RandomStream random(seed_, Purpose::kOrder, static_cast<uint64_t>(epoch), 0);
  const size_t keep = static_cast<size_t>(batches_per_epoch() * global_batch_);
  for (size_t i = 0; i < keep; ++i) std::swap(order[i], order[i + random.Below(order.size() - i)]);
  order.resize(keep);
  return order;
}

std::span<const int64_t> Slice(std::span<const int64_t> order, int64_t global_batch, int64_t batch, int rank,
                               int world_size, int64_t accumulate, int64_t micro) {
  const int64_t local = global_batch / world_size;
  const int64_t count = local / accumulate;
  return order.subspan(static_cast<size_t>(batch * global_batch + rank * local + micro * count),
                       static_cast<size_t>(count));
}

int64_t CropStart(uint64_t seed, int64_t epoch, int64_t utterance, int64_t frames, int64_t crop_frames) {
  if (frames <= crop_frames) return 0;
  RandomStream random(seed, Purpose::kCrop, static_cast<uint64_t>(epoch), static_cast<uint64_t>(utterance));
  return static_cast<int64_t>(random.Below(static_cast<uint64_t>(frames - crop_frames + 1)));
}

int64_t CropLength(uint64_t seed, int64_t epoch, int64_t batch, int64_t min_frames, int64_t max_frames) {
  RandomStream random(seed, Purpose::kCropLength, static_cast<uint64_t>(epoch), static_cast<uint64_t>(batch));
  return min_frames + static_cast<int64_t>(random.Below(static_cast<uint64_t>(max_frames - min_frames + 1)));
}

}  // namespace data
