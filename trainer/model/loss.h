// What training minimises, from a model's logits.
#pragma once

#include <torch/torch.h>

#include "trainer/config/config.h"

namespace trainer::model {

// Cross entropy with label smoothing, where the margin losses first worsen the right speaker's logit. With
// logits s cos(a), s = loss.scale and margin m:
//
//   am_softmax   s (cos(a) - m)   (Wang et al. 2018, "Additive margin softmax for face verification")
//   aam_softmax  s cos(a + m), and s (cos(a) - m sin(m)) where a + m would pass pi, so that it keeps falling
//                                 (Deng et al. 2019, "ArcFace")
//
// Smoothing as in Szegedy et al. 2016: the target is 1 - e + e / C for the right speaker, e / C for the
// others.
class Loss {
 public:
  explicit Loss(config::Config::Loss options) : options_(std::move(options)) {}

  // The margin at the update number `step`, from 0.
  double MarginAt(int64_t step) const;

  // The sum over the batch. logits (B, n_speakers), those of a cosine head for the margin losses; speakers
  // (B) int64 in [0, n_speakers).
  torch::Tensor Sum(const torch::Tensor& logits, const torch::Tensor& speakers, double margin) const;

 private:
  config::Config::Loss options_;
};

}  // namespace trainer::model
