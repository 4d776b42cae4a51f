// A model out of a checkpoint, with what it takes to use it on other data.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/extract.h"
#include "data/front_end.h"
#include "trainer/model/classifier.h"

namespace trainer::engine {

// Tells `model` which of its classes, named `speakers`, are copies at one of `speeds`.
void MarkSpeedCopies(const std::vector<std::string>& speakers, const std::vector<double>& speeds,
                     model::Classifier& model);

struct TrainedModel {
  std::shared_ptr<model::Classifier> model;  // on the CPU, in evaluation mode
  std::vector<std::string> speakers;         // the name of each class
  std::vector<double> speeds;                // of the copies among them (data/speed_copies.h)
  data::FrontEnd front_end;                  // of the features that it was trained on
  int64_t step = 0;
};

// Loads a checkpoint folder (or a link to one, such as RUN/checkpoints/best). kNotFound, kDataLoss: as
// CheckpointStore::Load; kDataLoss also where the state does not describe a model.
absl::StatusOr<TrainedModel> LoadTrainedModel(const std::string& folder);

// How a recording becomes features like those that the model was trained on. kFailedPrecondition, naming
// `checkpoint`, where audio cannot be brought to them: they were not made from audio, or by settings that
// data/extract.h does not offer. For HW4's features these are the settings that their import records.
absl::StatusOr<data::ExtractOptions> ExtractOptionsOf(const data::FrontEnd& front_end,
                                                      const std::string& checkpoint);

}  // namespace trainer::engine
