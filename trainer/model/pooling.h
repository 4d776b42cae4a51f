// From the frames of an utterance to one vector.
#pragma once

#include <torch/torch.h>

#include <string>

namespace trainer::model {

// Hidden units of the attentive poolings.
inline constexpr int64_t kPoolingAttentionWidth = 128;

// mean                  (B, D)
// statistics            mean and standard deviation, (B, 2D)  (Snyder et al. 2017)
// self_attentive        mean with weights softmax_t(v . tanh(W x_t + b)), (B, D)  (Cai et al. 2018)
// attentive_statistics  mean and deviation with such weights, (B, 2D)  (Okabe et al. 2018)
class Pooling : public torch::nn::Module {
 public:
  // `width`: D. Throws for a type that is none of these.
  Pooling(const std::string& type, int64_t width);

  // frames (B, T, D); lengths (B), or undefined where all T frames are real. Padding has no influence.
  torch::Tensor Forward(const torch::Tensor& frames, const torch::Tensor& lengths);

  int64_t output_width() const { return deviation_ ? 2 * width_ : width_; }

 private:
  int64_t width_;
  bool attentive_, deviation_;
  torch::nn::Linear projection_{nullptr}, score_{nullptr};
};

}  // namespace trainer::model
