// A speaker classifier around the Conformer: Linear or strided convolutions -> Conformer -> (all blocks'
// outputs) -> head.
#pragma once

#include <string>
#include <vector>

#include "trainer/model/classifier.h"
#include "trainer/model/conformer.h"

namespace trainer::model {

struct ConformerClassifierOptions {
  int64_t n_mels;
  std::string normalize;  // as Classifier
  int64_t subsampling;    // 1 | 2 | 4: frames become T / subsampling, rounded up
  bool mfa;  // frames are all blocks' outputs side by side, layer-normed (Zhang et al. 2022, "MFA-Conformer")
  bool ignore_lengths;  // treat padding as speech
  ConformerOptions conformer;
  HeadOptions head;  // of width dim, or dim * depth with mfa
};

// Parameters: prenet (without subsampling: one Linear), subsampling (with it), encoder.layers.* (as the
// Python package), mfa_norm, then the head's.
class ConformerClassifier : public Classifier {
 public:
  explicit ConformerClassifier(const ConformerClassifierOptions& options);
  int64_t n_mels() const override { return options_.n_mels; }

 private:
  Frames Encode(const torch::Tensor& mels, const torch::Tensor& lengths) override;

  ConformerClassifierOptions options_;
  torch::nn::Linear prenet_{nullptr};
  std::vector<torch::nn::Conv1d> subsampling_;
  std::shared_ptr<Conformer> encoder_;
  torch::nn::LayerNorm mfa_norm_{nullptr};
};

}  // namespace trainer::model
