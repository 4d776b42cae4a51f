// A checkpoint evaluated on a split: what `trainer evaluate` prints and writes, and what `trainer report`
// shows.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "launcher/mpi_session.h"
#include "trainer/split_job.h"

namespace trainer {

struct EvaluationOptions {
  SplitOptions split;
  std::string out;  // folder for the tables, made if need be; empty: none
};

// The figures on rank 0 (an empty object on the others): accuracy, loss, utterances, ... Writes to
// `options.out` speakers.csv, confusion.csv, confusion.svg and last evaluation.json: the figures, and as
// "model_checksum" what the checkpoint's state.json has of its model. Collective; errors are alike on all
// ranks: what OpenSplitJob reports, utterances without a speaker or of one that the model does not know, a
// folder that cannot be written to.
absl::StatusOr<nlohmann::ordered_json> EvaluateSplit(const EvaluationOptions& options,
                                                     const launcher::World& world);

}  // namespace trainer
