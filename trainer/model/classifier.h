// The interface every model has: log-mels in, one logit a speaker out.
#pragma once

#include <torch/torch.h>

#include <memory>

namespace trainer::model {

// A speaker classifier. Not thread-safe; parameters live on the device that `to()` put them on.
class Classifier : public torch::nn::Module {
 public:
  // The logits of a batch.
  //
  //   mels     (B, T, n_mels) float32; frames at and beyond an utterance's length may hold anything finite
  //   lengths  (B) int64, 1 <= length <= T; undefined where every utterance has T frames
  //   returns  (B, n_speakers) float32
  //
  // An utterance's logits do not depend on its batch-mates or on padding, save for rounding.
  virtual torch::Tensor Forward(const torch::Tensor& mels, const torch::Tensor& lengths) = 0;
};

}  // namespace trainer::model
