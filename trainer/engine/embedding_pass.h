// From utterances of any length to embeddings: the one way in which trained models are run.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "data/evaluation_loader.h"
#include "launcher/mpi_session.h"
#include "trainer/model/classifier.h"

namespace trainer::engine {

// Longer inputs are scored in windows: 82 s of speech, longer than any utterance of HW4 and short enough for
// the attention of all models here.
inline constexpr int64_t kDefaultMaxFrames = 8192;

// Embeddings (B, E) float32 on the device of `mels`, which is the model's. The model must be in evaluation
// mode.
//   mels     (B, T, n_mels), any device
//   lengths  (B) int64 on the CPU; undefined where every utterance has T frames
// An utterance longer than `max_frames` is cut into the fewest windows of equal size (to a frame) that are
// not longer; its embedding is the mean of theirs, weighted by their frames. Where none is longer, this is
// model.Embed itself, bit for bit; among longer ones, a short one's is the same save for rounding, for it
// then has other batch-mates. Per-utterance normalisation is done window by window.
torch::Tensor EmbedInWindows(model::Classifier& model, const torch::Tensor& mels,
                             const torch::Tensor& lengths, int64_t max_frames);

// Gets a batch and its embeddings (B, E), on the model's device.
using ConsumeEmbeddings = std::function<void(const data::Batch& batch, const torch::Tensor& embeddings)>;

// Runs `model` in evaluation mode over what `loader` gives this rank. Collective. Leaves the model in
// evaluation mode. Errors: what any rank's loader reports, on every rank alike.
absl::Status EmbedEach(const launcher::World& world, model::Classifier& model, torch::Device device,
                       data::EvaluationLoader& loader, int64_t max_frames, const ConsumeEmbeddings& consume);

struct Embeddings {
  int64_t width = 0;          // E
  std::vector<float> values;  // (N, E), row by row
};

// The embeddings of all ranks' utterances on rank 0, in the order of `utterances`, which is ascending and
// what the loaders were made for; nothing on other ranks. Collective. Errors as EmbedEach; kDataLoss where an
// embedding is not finite.
absl::StatusOr<Embeddings> EmbedUtterances(const launcher::World& world, model::Classifier& model,
                                           torch::Device device, data::EvaluationLoader& loader,
                                           int64_t max_frames, const std::vector<int64_t>& utterances);

}  // namespace trainer::engine
