// Matrix multiplication, where nearly all of a step's time goes.
#pragma once

#include <torch/torch.h>

namespace trainer::model {

// torch.nn.functional.linear: x (..., I) weight (O, I)^T + bias (O), which may be undefined. Returns (...,
// O).
//
// Note [Which library multiplies]
// For float32 on a CPU LibTorch calls MKL, which on AMD's processors runs at half the speed of oneDNN,
// another library in LibTorch; on Intel's the two are level. So on CPUs forward and both products of backward
// go to oneDNN.
torch::Tensor Linear(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias);

// The same with a layer's weight and bias.
inline torch::Tensor Linear(const torch::Tensor& x, const torch::nn::Linear& layer) {
  return Linear(x, layer->weight, layer->bias);
}

}  // namespace trainer::model
