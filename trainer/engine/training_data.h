// The data set of a run: opened, checked against the configuration, and dealt out by loaders.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/dataset.h"
#include "data/evaluation_loader.h"
#include "data/loader.h"
#include "launcher/mpi_session.h"
#include "trainer/config/config.h"

namespace trainer::engine {

// For each of the data set's speakers the class of that name in `class_names`, or -1 where there is none.
std::vector<int64_t> MatchSpeakers(const std::vector<std::string>& data_speakers,
                                   const std::vector<std::string>& class_names);

// The splits that a training run reads.
std::vector<std::string> SplitsOf(const config::Config& config);

// Whether the batch fits the ranks and a training split of `utterances`.
absl::Status CheckBatch(const config::Config& config, const launcher::World& world, int64_t utterances);

// A loader of this rank's part of `utterances`. `crop_frames`: only the first so many frames of each; 0: all.
std::unique_ptr<data::EvaluationLoader> MakeEvaluationLoader(std::shared_ptr<const data::Dataset> dataset,
                                                             std::vector<int64_t> utterances,
                                                             std::vector<int64_t> class_of_speaker,
                                                             const launcher::World& world,
                                                             int64_t crop_frames, bool pinned);

class TrainingData {
 public:
  // Opens config.data.path, or where one is given the copy of it in `folder`, on this rank and checks what
  // can be checked before the first step: the splits, that every speaker has utterances to train on, that the
  // batch fits the ranks and the data. Not collective.
  static absl::StatusOr<TrainingData> Open(const config::Config& config, const launcher::World& world,
                                           const std::string& folder = "");

  const data::Dataset& dataset() const { return *dataset_; }
  int64_t batches_per_epoch() const { return sampler_->batches_per_epoch(); }
  bool has_validation() const { return !valid_.empty(); }
  int64_t train_utterances() const { return static_cast<int64_t>(sampler_->utterances().size()); }
  int64_t valid_utterances() const { return static_cast<int64_t>(valid_.size()); }
  const std::vector<int64_t>& validation() const { return valid_; }  // utterances, ascending

  // Differs where another order of utterances would be drawn: of the shards' checksums and the training
  // split.
  std::string Fingerprint() const { return fingerprint_; }

  // From global batch number `first_batch` (counted from the start of epoch 0) on.
  std::unique_ptr<data::TrainLoader> MakeTrainLoader(int64_t first_batch, bool pinned,
                                                     data::TrainLoader::Observer observer = {}) const;
  std::unique_ptr<data::EvaluationLoader> MakeValidationLoader(bool pinned) const;
  // Of this rank's part of some of the utterances in `world`, which may also be a rank on its own.
  std::unique_ptr<data::EvaluationLoader> MakeLoaderOf(std::vector<int64_t> utterances,
                                                       const launcher::World& world, bool pinned) const;

 private:
  TrainingData() = default;

  config::Config config_;
  launcher::World world_;
  std::shared_ptr<const data::Dataset> dataset_;
  std::optional<data::Sampler> sampler_;
  std::vector<int64_t> valid_;
  std::string fingerprint_;
};

}  // namespace trainer::engine
