// Activations with the dropout after them.
#pragma once

#include <torch/torch.h>

namespace trainer::kernels {

enum class Activation { kRelu, kGelu, kSilu };  // kSilu: x * sigmoid(x), also called Swish

// dropout(activation(x)), x (B, ...) float32 or bfloat16; same shape and type. `probability` is that of
// training, 0 otherwise; takes a place where it is above 0. See Note [Fused kernels]; kGelu is not fused.
torch::Tensor ActivateAndDrop(const torch::Tensor& x, Activation activation, double probability);

}  // namespace trainer::kernels
