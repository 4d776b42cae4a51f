// The middle of a Conformer's convolution: gated linear unit, then depthwise convolution over time.
#pragma once

#include <torch/torch.h>

namespace trainer::kernels {

// y[t, c] = bias[c] + sum over j of weight[c, 0, j] * u[t + j - left, c],  u = mask * a * sigmoid(g)
//
//   gated   (B, T, 2 C), float32 or bfloat16: a and g side by side
//   mask    (B, T) bool, false where a frame counts as zero, or undefined
//   weight  (C, 1, kernel), bias (C), float32; `bias_gradient` false: the gradient of the bias is taken for 0
//   left    frames that the kernel reaches back, 0 <= left < kernel; beyond both ends frames are zero
//   returns (B, T, C), as `gated`
//
// (Dauphin et al. 2017, "Gated convolutional networks".) See Note [Fused kernels]; `gated` must be one that
// UseFused takes.
torch::Tensor GluDepthwise(const torch::Tensor& gated, const torch::Tensor& mask, const torch::Tensor& weight,
                           const torch::Tensor& bias, bool bias_gradient, int64_t left);

}  // namespace trainer::kernels
