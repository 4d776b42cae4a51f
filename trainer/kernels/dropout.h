// Dropout by counter, see Note [Dropout by counter] in context.h.
#pragma once

#include <torch/torch.h>

namespace trainer::kernels {

// x (B, ...) with each element zeroed with `probability` in [0, 1) and the others divided by 1 - probability.
// (Srivastava et al. 2014.) Takes the next place. On a GPU LibTorch's own, which knows of no places.
torch::Tensor Dropout(const torch::Tensor& x, double probability);

// x (B, ...) with whole utterances zeroed or scaled up in the same way: "stochastic depth". (Huang et al.
// 2016.) Takes the next place.
torch::Tensor DropUtterances(const torch::Tensor& x, double probability);

}  // namespace trainer::kernels
