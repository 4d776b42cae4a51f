// Batch norm and the Swish after it, in training.
#pragma once

#include <torch/torch.h>

#include <functional>
#include <memory>

namespace trainer::kernels {

// Sums a contiguous float32 tensor over all ranks, in place, and returns when its values may be used (CUDA:
// by work queued after it).
using AllReduce = std::function<void(const torch::Tensor&)>;

struct BatchMoments {
  torch::Tensor mean, variance;  // (C), the variance biased
  torch::Tensor count;           // (1) rows
};

// silu(batch norm of x) over all rows of x (..., C), float32 or bfloat16, and the statistics it took.
//
//   mask        (rows) bool, false where a row does not count (its output is finite and says nothing), or
//   undefined weight, bias (C) float32 all_reduce  statistics are taken over all ranks with it, also in
//   backward; or null
//
// eps is 1e-5. (Ioffe and Szegedy 2015.) See Note [Fused kernels]; x must be one that UseFused takes.
std::pair<torch::Tensor, BatchMoments> BatchNormSilu(const torch::Tensor& x, const torch::Tensor& mask,
                                                     const torch::Tensor& weight, const torch::Tensor& bias,
                                                     const std::shared_ptr<const AllReduce>& all_reduce);

}  // namespace trainer::kernels
