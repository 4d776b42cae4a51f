// What TensorBoard shows of a model beside scalars: how its parameters are distributed, what it says of some
// utterances, where its embeddings lie.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "launcher/mpi_session.h"
#include "trainer/engine/embedding_pass.h"
#include "trainer/engine/training_data.h"
#include "trainer/model/classifier.h"
#include "trainer/optim/flat_parameters.h"
#include "trainer/telemetry/mel_picture.h"
#include "trainer/telemetry/summary.h"

namespace trainer::engine {

// A histogram of each parameter and of its gradient: weights/NAME and gradients/NAME. Between steps the
// gradients are those of the last one, summed over the ranks. `values`, `gradients`: (P), on the host, laid
// out as `slots` say. Any thread.
telemetry::Summary HistogramsOf(const std::vector<optim::FlatParameters::Slot>& slots,
                                const torch::Tensor& values, const torch::Tensor& gradients);

// What a model says of an utterance.
struct Prediction {
  int64_t utterance = 0;  // its number in the data set
  std::string id, speaker;
  std::vector<std::string> likeliest;  // three speakers, the likeliest first
  std::vector<double> probabilities;   // of these
  telemetry::MelStrip strip;           // without its caption
};

// Of six of the validation split's utterances, always the same. Not collective: this rank runs `model` on
// them, and leaves it in evaluation mode. Errors: what reading the data reports.
absl::StatusOr<std::vector<Prediction>> Predict(model::Classifier& model, torch::Device device,
                                                const TrainingData& data);

// A picture of the utterances' mels, each with the right and the predicted speaker below it, as
// valid/predictions, and a table of their likeliest speakers, as valid/likeliest_speakers. Any thread.
telemetry::Summary PicturesOf(std::vector<Prediction> predictions);

// Writes up to 2,000 of the validation split's embeddings, evenly chosen, to `folder` for TensorBoard's
// projector, with utterances and speakers. Collective; rank 0 writes. Errors: those of EmbedUtterances on
// every rank alike, those of writing on rank 0 alone.
absl::Status WriteEmbeddings(const launcher::World& world, model::Classifier& model, torch::Device device,
                             const TrainingData& data, const std::string& folder);

}  // namespace trainer::engine
