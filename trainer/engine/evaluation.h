// Loss and accuracy over a split, every utterance exactly once over all ranks.
#pragma once

#include <torch/torch.h>

#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "data/evaluation_loader.h"
#include "launcher/mpi_session.h"
#include "trainer/engine/embedding_pass.h"
#include "trainer/model/classifier.h"

namespace trainer::engine {

struct EvaluationFigures {
  double loss = 0;      // mean cross entropy an utterance
  double accuracy = 0;  // share of utterances whose largest logit is the right one
  int64_t utterances = 0;
};

// How the model did on one utterance.
struct UtteranceScore {
  int64_t utterance = 0;  // number in the data set
  int64_t speaker = 0;    // the right class
  int64_t predicted = 0;  // the class of the largest logit
  int64_t larger = 0;     // classes with a larger logit than the right one has: 0 to 4 is "in the top 5"
  double loss = 0;        // cross entropy
};

// Runs `model` in evaluation mode over what `loader` gives this rank and sums over the ranks; inputs longer
// than `max_frames` in windows (embedding_pass.h). Collective: every rank must call it. Leaves the model in
// evaluation mode. `progress`, if any, is called after each batch. Errors: what the loader reports, on every
// rank alike.
absl::StatusOr<EvaluationFigures> Evaluate(const launcher::World& world, model::Classifier& model,
                                           torch::Device device, data::EvaluationLoader& loader,
                                           int64_t max_frames = kDefaultMaxFrames,
                                           const std::function<void()>& progress = {});

// The same, each utterance for itself: all ranks' on rank 0, ascending by utterance; nothing on the others.
// Every utterance must have a class.
absl::StatusOr<std::vector<UtteranceScore>> ScoreUtterances(const launcher::World& world,
                                                            model::Classifier& model, torch::Device device,
                                                            data::EvaluationLoader& loader,
                                                            int64_t max_frames = kDefaultMaxFrames);

}  // namespace trainer::engine
