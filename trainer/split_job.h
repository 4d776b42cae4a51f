// What the commands that run a model over a split have in common: their options, and a model that meets a
// data set.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "data/dataset.h"
#include "data/evaluation_loader.h"
#include "launcher/device.h"
#include "launcher/mpi_session.h"
#include "trainer/engine/embedding_pass.h"
#include "trainer/engine/trained_model.h"

namespace trainer {

struct ModelOptions {
  std::string checkpoint;  // a checkpoint folder or a link to one
  int64_t max_frames = engine::kDefaultMaxFrames;
  std::string device = "auto";
  int threads = 0;

  void AddTo(CLI::App* command);
  // Collective; see launcher::BindDevice.
  absl::StatusOr<torch::Device> Bind(const launcher::World& world) const;
};

struct SplitOptions {
  ModelOptions model;
  std::string data;  // a data set's folder
  std::string split = "test";
  int64_t frames = 0;  // only the first so many frames of each utterance; 0: all

  void AddTo(CLI::App* command);
};

struct SplitJob {
  engine::TrainedModel trained;
  std::shared_ptr<const data::Dataset> dataset;
  std::vector<int64_t> utterances;        // to run the model on, ascending: mostly those of the split
  std::vector<int64_t> class_of_speaker;  // data set's speaker -> the model's class of that name, or -1

  // Name of an utterance's speaker, "" where it has none.
  std::string SpeakerName(int64_t utterance) const;
  absl::StatusOr<std::vector<std::string>> Ids() const;  // of `utterances`
  // Whether the model was trained on a speaker of the data set, by name.
  bool Knows(int32_t speaker) const { return class_of_speaker[static_cast<size_t>(speaker)] >= 0; }

  // Moves the model to `device`; the loader gives this rank's part of `utterances` for it.
  std::unique_ptr<data::EvaluationLoader> Start(const SplitOptions& options, const launcher::World& world,
                                                torch::Device device) const;

  // The embedding of every utterance, on rank 0; see engine::EmbedUtterances. Collective.
  absl::StatusOr<engine::Embeddings> Embed(const SplitOptions& options, const launcher::World& world,
                                           torch::Device device) const;
};

// Loads the checkpoint and opens the data set, for utterances that the caller chooses. Not collective.
// Errors, one line each: what either reports, features with another number of mels than the model's.
absl::StatusOr<SplitJob> OpenWithoutSplit(const SplitOptions& options);

// The same with the utterances of the split; kNotFound, kInvalidArgument: it is not there or empty.
absl::StatusOr<SplitJob> OpenSplitJob(const SplitOptions& options);

// Says on stderr which settings of the front end differ between the data and what the model was trained on:
// legal, but the figures then mean less.
void WarnOfFrontEnd(const SplitJob& job, const SplitOptions& options);

}  // namespace trainer
