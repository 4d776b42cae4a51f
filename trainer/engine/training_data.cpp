#include "trainer/engine/training_data.h"

#include <algorithm>
#include <unordered_map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "data/checksum.h"

namespace trainer::engine {
namespace {

// Evaluation pads utterances of like length to one batch of at most so many frames; 16,384 frames of
// activations are what a training batch of 128 crops of 128 frames takes.
constexpr int64_t kEvaluationBatchFrames = 16384;

absl::Status CheckSpeakersHaveUtterances(const data::Dataset& dataset, const std::vector<int64_t>& train,
                                         const config::Config& config) {
  const auto where = absl::StrCat(config.data.path, ": split '", config.data.train_split, "'");
  for (const int64_t utterance : train) {
    if (dataset.speaker(utterance) < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat(where,
                       " has utterances without a speaker; set data.train_split to a labelled split (`mels "
                       "info` lists them)"));
    }
  }
  const auto counts = dataset.CountBySpeaker(train);
  const auto empty = std::find(counts.begin(), counts.end(), 0);
  if (empty != counts.end()) {
    const auto& speakers = dataset.manifest().speakers;
    return absl::InvalidArgumentError(absl::StrCat(
        where, " has no utterance of speaker '", speakers[static_cast<size_t>(empty - counts.begin())], "' (",
        std::count(counts.begin(), counts.end(), 0), " of ", speakers.size(),
        " speakers have none there); divide the data set again with `mels split`, or leave those speakers "
        "out"));
  }
  return absl::OkStatus();
}

std::string FingerprintOf(const data::Manifest& manifest, const std::string& split) {
  data::ChecksumStream stream;
  for (const auto& shard : manifest.shards) stream.Update(&shard.checksum, sizeof shard.checksum);
  for (const auto& range : manifest.splits.at(split)) stream.Update(&range, sizeof range);
  return absl::StrFormat("%016x", stream.Digest());
}

data::AugmentOptions AugmentOptionsOf(const config::Config& config) {
  const auto& augment = config.augment;
  data::AugmentOptions options;
  options.gain_db = augment.gain_db;
  options.noise_probability = augment.noise_probability;
  options.babble_probability = augment.babble_probability;
  options.snr_db = augment.snr_db;
  options.babble_voices = augment.babble_voices;
  options.time_masks = augment.time_masks;
  options.time_mask_frames = augment.time_mask_frames;
  options.frequency_masks = augment.frequency_masks;
  options.frequency_mask_mels = augment.frequency_mask_mels;
  return options;
}

}  // namespace

std::vector<std::string> SplitsOf(const config::Config& config) {
  return {config.data.train_split, config.data.valid_split};
}

absl::Status CheckBatch(const config::Config& config, const launcher::World& world, int64_t utterances) {
  const int64_t parts = world.size * config.train.accumulate;
  if (config.train.global_batch % parts != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "train.global_batch = ", config.train.global_batch, " cannot be divided among ", world.size, " ranks",
        config.train.accumulate > 1 ? absl::StrCat(" and train.accumulate = ", config.train.accumulate) : "",
        "; set train.global_batch to a multiple of ", parts, " or start another number of ranks"));
  }
  const auto& norm = config.model.embedding_norm;
  if (config.model.embedding > 0 && config.train.global_batch == parts &&
      (norm == "batch" || (norm == "sync_batch" && world.size == 1))) {
    return absl::InvalidArgumentError(absl::StrCat("model.embedding_norm = ", norm,
                                                   " needs more than one utterance at a time, and with "
                                                   "train.global_batch = ",
                                                   config.train.global_batch,
                                                   " there is one; raise "
                                                   "train.global_batch, or set model.embedding_norm: layer"));
  }
  if (utterances < config.train.global_batch) {
    return absl::InvalidArgumentError(
        absl::StrCat(config.data.path, ": split '", config.data.train_split, "' has ", utterances,
                     " utterances, fewer than one batch; set train.global_batch to at most that"));
  }
  return absl::OkStatus();
}

std::vector<int64_t> MatchSpeakers(const std::vector<std::string>& data_speakers,
                                   const std::vector<std::string>& class_names) {
  std::unordered_map<std::string, int64_t> class_of;
  for (size_t i = 0; i < class_names.size(); ++i) class_of[class_names[i]] = static_cast<int64_t>(i);
  std::vector<int64_t> matched;
  matched.reserve(data_speakers.size());
  for (const auto& name : data_speakers) {
    const auto found = class_of.find(name);
    matched.push_back(found == class_of.end() ? -1 : found->second);
  }
  return matched;
}

std::unique_ptr<data::EvaluationLoader> MakeEvaluationLoader(std::shared_ptr<const data::Dataset> dataset,
                                                             std::vector<int64_t> utterances,
                                                             std::vector<int64_t> class_of_speaker,
                                                             const launcher::World& world,
                                                             int64_t crop_frames, bool pinned) {
  data::EvaluationLoader::Options options;
  options.crop_frames = crop_frames;
  options.frame_budget = kEvaluationBatchFrames;
  options.rank = world.rank;
  options.world_size = world.size;
  options.pinned = pinned;
  options.class_of_speaker = std::move(class_of_speaker);
  return std::make_unique<data::EvaluationLoader>(std::move(dataset), std::move(utterances),
                                                  std::move(options));
}

absl::StatusOr<TrainingData> TrainingData::Open(const config::Config& config, const launcher::World& world,
                                                const std::string& folder) {
  TrainingData result;
  result.config_ = config;
  result.world_ = world;
  const bool is_copy = !folder.empty() && folder != config.data.path;
  auto dataset =
      is_copy ? data::Dataset::Open(folder, SplitsOf(config)) : data::Dataset::Open(config.data.path);
  if (!dataset.ok()) return dataset.status();
  result.dataset_ = *std::move(dataset);
  const auto& manifest = result.dataset_->manifest();

  auto train = result.dataset_->Split(config.data.train_split);
  if (!train.ok()) return train.status();
  if (auto status = CheckSpeakersHaveUtterances(*result.dataset_, *train, config); !status.ok())
    return status;
  if (auto status = CheckBatch(config, world, static_cast<int64_t>(train->size())); !status.ok())
    return status;
  if (auto status = data::CheckAugment(AugmentOptionsOf(config), *result.dataset_, *train); !status.ok()) {
    return absl::Status(status.code(), absl::StrCat(config.data.path, ": ", status.message()));
  }
  result.fingerprint_ = FingerprintOf(manifest, config.data.train_split);
  result.sampler_.emplace(*std::move(train), static_cast<uint64_t>(config.run.seed),
                          config.train.global_batch);

  // A data set without the validation split is fine: then there is no validation.
  if (auto valid = result.dataset_->Split(config.data.valid_split); valid.ok()) {
    std::erase_if(*valid, [&](int64_t utterance) { return result.dataset_->speaker(utterance) < 0; });
    result.valid_ = *std::move(valid);
  }
  return result;
}

std::unique_ptr<data::TrainLoader> TrainingData::MakeTrainLoader(int64_t first_batch, bool pinned,
                                                                 data::TrainLoader::Observer observer) const {
  data::TrainLoader::Options options;
  options.crop_frames = config_.data.crop_frames;
  options.min_crop_frames = config_.data.min_crop_frames;
  options.augment = AugmentOptionsOf(config_);
  options.rank = world_.rank;
  options.world_size = world_.size;
  options.accumulate = config_.train.accumulate;
  options.prefetch_batches = config_.data.prefetch_batches;
  options.pinned = pinned;
  options.seed = static_cast<uint64_t>(config_.run.seed);
  options.observer = std::move(observer);
  return std::make_unique<data::TrainLoader>(dataset_, *sampler_, std::move(options), first_batch);
}

std::unique_ptr<data::EvaluationLoader> TrainingData::MakeValidationLoader(bool pinned) const {
  return MakeLoaderOf(valid_, world_, pinned);
}

std::unique_ptr<data::EvaluationLoader> TrainingData::MakeLoaderOf(std::vector<int64_t> utterances,
                                                                   const launcher::World& world,
                                                                   bool pinned) const {
  return MakeEvaluationLoader(dataset_, std::move(utterances), /*class_of_speaker=*/{}, world,
                              /*crop_frames=*/0, pinned);
}

}  // namespace trainer::engine
