#include "data/loader.h"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "absl/strings/str_cat.h"
#include "data/status_macros.h"

namespace data {
namespace {

int64_t ClassOf(const std::vector<int64_t>& class_of_speaker, int32_t speaker) {
  if (speaker < 0 || class_of_speaker.empty()) return speaker;
  return class_of_speaker[static_cast<size_t>(speaker)];
}

}  // namespace

absl::Status FillRow(const Dataset& dataset, int64_t u, int64_t start, int64_t count,
                     const std::vector<int64_t>& class_of_speaker, int64_t row, Batch* batch) {
  const int64_t frames = batch->mels.size(1), n_mels = batch->mels.size(2);
  float* out = batch->mels.data_ptr<float>() + row * frames * n_mels;
  RETURN_IF_ERROR(dataset.Read(u, start, count, out));
  std::fill(out + count * n_mels, out + frames * n_mels, 0.0f);
  batch->lengths.data_ptr<int64_t>()[row] = count;
  batch->speakers.data_ptr<int64_t>()[row] = ClassOf(class_of_speaker, dataset.speaker(u));
  batch->utterances[static_cast<size_t>(row)] = u;
  batch->starts[static_cast<size_t>(row)] = start;
  batch->padded |= count < frames;
  return absl::OkStatus();
}

TrainLoader::TrainLoader(std::shared_ptr<const Dataset> dataset, Sampler sampler, Options options,
                         int64_t first_batch)
    : dataset_(std::move(dataset)),
      sampler_(std::move(sampler)),
      options_(std::move(options)),
      next_(first_batch) {
  const auto require = [](bool holds, const std::string& what) {
    if (!holds) throw std::invalid_argument(absl::StrCat("train loader: ", what));
  };
  require(options_.crop_frames >= 1, absl::StrCat("a crop of ", options_.crop_frames, " frames"));
  require(options_.min_crop_frames >= 0 && options_.min_crop_frames <= options_.crop_frames,
          absl::StrCat("crops from ", options_.min_crop_frames, " to ", options_.crop_frames, " frames"));
  require(options_.rank >= 0 && options_.rank < options_.world_size && options_.accumulate >= 1,
          absl::StrCat("rank ", options_.rank, " of ", options_.world_size, ", accumulate ",
                       options_.accumulate));
  require(first_batch >= 0, absl::StrCat("first batch ", first_batch));
  require(sampler_.global_batch() % (options_.world_size * options_.accumulate) == 0,
          absl::StrCat("a global batch of ", sampler_.global_batch(), " does not divide by ",
                       options_.world_size, " ranks x ", options_.accumulate, " micro-batches"));
  const size_t speakers = dataset_->manifest().speakers.size();
  require(options_.class_of_speaker.empty() || options_.class_of_speaker.size() == speakers,
          "class_of_speaker has not one entry a speaker of the data set");
  for (const int64_t u : sampler_.utterances()) {
    const bool exists = u >= 0 && u < dataset_->size();
    require(exists && ClassOf(options_.class_of_speaker, dataset_->speaker(u)) >= 0,
            absl::StrCat("utterance ", u, " is not in the data set or has no class"));
  }
  const absl::Status augment = CheckAugment(options_.augment, *dataset_, sampler_.utterances());
  require(augment.ok(), std::string(augment.message()));
  if (options_.augment.any()) {
    augmenter_.emplace(options_.augment, dataset_, sampler_.utterances(), options_.seed);
  }
  prefetcher_ = std::make_unique<Prefetcher>(options_.prefetch_batches, [this](BatchBuffer* buffer) {
    if (!options_.observer) return Fill(buffer);
    const int64_t global_batch = next_;
    const auto start = std::chrono::steady_clock::now();
    auto more = Fill(buffer);
    options_.observer(global_batch, start, std::chrono::steady_clock::now());
    return more;
  });
}

absl::StatusOr<bool> TrainLoader::Fill(BatchBuffer* buffer) {
  const int64_t epoch = next_ / sampler_.batches_per_epoch();
  if (epoch != epoch_) {
    order_ = sampler_.Order(epoch);
    epoch_ = epoch;
  }
  Batch& batch = buffer->batch();
  batch.epoch = epoch;
  batch.batch = next_ % sampler_.batches_per_epoch();
  const std::span<const int64_t> part = Slice(order_, sampler_.global_batch(), batch.batch, options_.rank,
                                              options_.world_size, options_.accumulate, micro_);
  const int64_t most = options_.crop_frames, least = options_.min_crop_frames;
  const int64_t crop = least > 0 ? CropLength(options_.seed, epoch, batch.batch, least, most) : most;
  const auto count = static_cast<int64_t>(part.size());
  // Once and for the longest crop: page-locked memory in particular is slow to come by.
  buffer->Reserve(count, most, dataset_->n_mels(), options_.pinned);
  buffer->Resize(count, crop, dataset_->n_mels(), options_.pinned);
  batch.utterances.resize(part.size());
  batch.starts.resize(part.size());
  batch.padded = false;
  for (size_t row = 0; row < part.size(); ++row) {
    const int64_t u = part[row], frames = dataset_->frames(u);
    const int64_t start = CropStart(options_.seed, epoch, u, frames, crop);
    const int64_t length = std::min(frames, crop);
    RETURN_IF_ERROR(
        FillRow(*dataset_, u, start, length, options_.class_of_speaker, static_cast<int64_t>(row), &batch));
    if (!augmenter_) continue;
    float* mels = batch.mels.data_ptr<float>() + static_cast<int64_t>(row) * crop * dataset_->n_mels();
    RETURN_IF_ERROR(augmenter_->Apply(epoch, u, {mels, static_cast<size_t>(length * dataset_->n_mels())}));
  }
  if (++micro_ == options_.accumulate) {
    micro_ = 0;
    ++next_;
  }
  return true;
}

}  // namespace data
