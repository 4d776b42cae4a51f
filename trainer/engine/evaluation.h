// Loss and accuracy over a split, every utterance exactly once over all ranks.
#pragma once

#include <torch/torch.h>

#include "absl/status/statusor.h"
#include "data/evaluation_loader.h"
#include "launcher/mpi_session.h"
#include "trainer/model/classifier.h"

namespace trainer::engine {

struct EvaluationFigures {
  double loss = 0;      // mean cross entropy an utterance
  double accuracy = 0;  // share of utterances whose largest logit is the right one
  int64_t utterances = 0;
};

// Runs `model` in evaluation mode over what `loader` gives this rank and sums over the ranks. Collective:
// every rank must call it. Leaves the model in evaluation mode. Errors: what the loader reports, on every
// rank alike.
absl::StatusOr<EvaluationFigures> Evaluate(const launcher::World& world, model::Classifier& model,
                                           torch::Device device, data::EvaluationLoader& loader);

}  // namespace trainer::engine
