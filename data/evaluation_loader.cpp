#include "data/evaluation_loader.h"

#include <algorithm>
#include <stdexcept>

#include "absl/strings/str_cat.h"
#include "data/loader.h"
#include "data/status_macros.h"

namespace data {

EvaluationLoader::EvaluationLoader(std::shared_ptr<const Dataset> dataset, std::vector<int64_t> utterances,
                                   Options options)
    : dataset_(std::move(dataset)),
      options_(std::move(options)),
      utterances_(std::move(utterances)),
      next_(options_.rank) {
  const auto require = [](bool holds, const char* what) {
    if (!holds) throw std::invalid_argument(absl::StrCat("evaluation loader: ", what));
  };
  require(options_.rank >= 0 && options_.rank < options_.world_size, "a rank beyond the world's size");
  require(options_.crop_frames >= 0 && options_.frame_budget >= 1, "a negative crop or no frames a batch");
  require(options_.class_of_speaker.empty() ||
              options_.class_of_speaker.size() == dataset_->manifest().speakers.size(),
          "class_of_speaker has not one entry a speaker of the data set");
  for (const int64_t u : utterances_)
    require(u >= 0 && u < dataset_->size(), "an utterance is not in the data set");
  std::sort(utterances_.begin(), utterances_.end(), [&](int64_t a, int64_t b) {
    const int64_t fa = Frames(a), fb = Frames(b);
    return fa != fb ? fa > fb : a < b;
  });
  const int64_t count = static_cast<int64_t>(utterances_.size());
  for (int64_t begin = 0; begin < count;) {
    begins_.push_back(begin);
    // The first is the longest, hence T.
    const int64_t fit = options_.frame_budget / Frames(utterances_[static_cast<size_t>(begin)]);
    begin = std::min(count, begin + std::max<int64_t>(1, fit));
  }
  begins_.push_back(count);
  prefetcher_ = std::make_unique<Prefetcher>(options_.prefetch_batches,
                                             [this](BatchBuffer* buffer) { return Fill(buffer); });
}

int64_t EvaluationLoader::Frames(int64_t u) const {
  const int64_t frames = dataset_->frames(u);
  return options_.crop_frames > 0 ? std::min(frames, options_.crop_frames) : frames;
}

absl::StatusOr<bool> EvaluationLoader::Fill(BatchBuffer* buffer) {
  if (next_ >= total_batches()) return false;
  const int64_t begin = begins_[static_cast<size_t>(next_)],
                count = begins_[static_cast<size_t>(next_) + 1] - begin;
  buffer->Resize(count, Frames(utterances_[static_cast<size_t>(begin)]), dataset_->n_mels(), options_.pinned);
  Batch& batch = buffer->batch();
  batch.utterances.resize(static_cast<size_t>(count));
  batch.starts.resize(static_cast<size_t>(count));
  batch.batch = next_;
  batch.padded = false;
  for (int64_t row = 0; row < count; ++row) {
    const int64_t u = utterances_[static_cast<size_t>(begin + row)];
    RETURN_IF_ERROR(FillRow(*dataset_, u, 0, Frames(u), options_.class_of_speaker, row, &batch));
  }
  next_ += options_.world_size;
  return true;
}

}  // namespace data
