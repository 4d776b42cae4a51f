// How far two tensors are apart.
#pragma once

#include <torch/torch.h>

namespace trainer {

inline double MaxDifference(const torch::Tensor& a, const torch::Tensor& b) {
  return (a - b).abs().max().item<double>();
}

}  // namespace trainer
