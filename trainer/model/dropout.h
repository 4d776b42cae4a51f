// Dropout: at::dropout on a GPU, a much faster one of ours on CPUs.
#pragma once

#include <torch/torch.h>

namespace trainer::model {

// x with each element zeroed with `probability` in [0, 1) and the others divided by 1 - probability.
// (Srivastava et al. 2014.)
//
// Note [Dropout on CPUs]
// at::dropout draws its mask one number after the other, which takes longer than the matrix multiplication
// before it. Here element i is kept or not by a hash of i and of a 64-bit number drawn from the default
// generator: vectorised, and computed again in backward instead of being stored. So a seed still gives the
// same mask every time, on any number of threads; but another than PyTorch's.
torch::Tensor Dropout(const torch::Tensor& x, double probability);

}  // namespace trainer::model
