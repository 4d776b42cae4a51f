// A model out of a checkpoint, with what it takes to use it on other data.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/front_end.h"
#include "trainer/model/classifier.h"

namespace trainer::engine {

struct TrainedModel {
  std::shared_ptr<model::Classifier> model;  // on the CPU, in evaluation mode
  std::vector<std::string> speakers;         // the name of each class
  data::FrontEnd front_end;                  // of the features that it was trained on
  int64_t step = 0;
};

// Loads a checkpoint folder (or a link to one, such as RUN/checkpoints/best). kNotFound, kDataLoss: as
// CheckpointStore::Load; kDataLoss also where the state does not describe a model.
absl::StatusOr<TrainedModel> LoadTrainedModel(const std::string& folder);

}  // namespace trainer::engine
