// What stands between the parts of a block: the branch's dropout, the residual sum, and the layer norm after
// it.
#pragma once

#include <torch/torch.h>

namespace trainer::kernels {

struct AddNormResult {
  torch::Tensor sum;     // as x: x + scale * dropout(branch)
  torch::Tensor normed;  // layer norm of it
};

// x (B, T, D) float32; branch (B, T, D) or undefined, which counts as zero; weight, bias (D). `probability`
// of dropout in training, 0 otherwise; it takes a place where it is above 0. eps is 1e-5. (Ba et al. 2016,
// "Layer normalization".) `normed` is float32 with `full_precision`, otherwise of the precision that matrix
// products have.
//
// Note [Fused kernels]
// Between matrix products a step is bound by memory: LibTorch's operations read and write each tensor once
// for each of dropout, scaling, sum and norm, and keep them all for backward. The kernels of this folder do
// in one pass what lies between two products, on CPUs, in float32 arithmetic whatever the tensors' type, and
// keep the least. Settings::fused = false takes LibTorch's operations instead, which the tests compare with.
// Sums over rows are added up chunk by chunk, where chunks are always the same rows: the same bits on any
// number of threads.
AddNormResult AddNorm(const torch::Tensor& x, const torch::Tensor& branch, double scale, double probability,
                      const torch::Tensor& weight, const torch::Tensor& bias, bool full_precision);

}  // namespace trainer::kernels
