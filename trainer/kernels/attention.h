// Softmax attention of training on CPUs, from packed projections to merged heads.
#pragma once

#include <torch/torch.h>

namespace trainer::kernels {

// For every utterance and head
//
//   s(i, j) = dh^-1/2 * (q_i . k_j + q_i . e_r(i, j)),   r(i, j) = clamp(i - j, -M, M) + M
//   o_i = sum over j of dropout(softmax_j(s(i, j))) v_j
//
//   packed       (B, T, 3 * heads * dh), float32 or bfloat16: q, k and v side by side, each head by head
//   positions    (2M + 1, dh) float32: e, or undefined, which counts as zero
//   key_mask     (B, T) bool, true = may be attended to (at least one in each row), or undefined
//   probability  of dropout; takes a place where it is above 0; mask elements are numbered as (heads, T, T)
//   returns      (B, T, heads * dh), as `packed`
//
// See Note [Fused kernels]; `packed` must be one that UseFused takes. Scores are made a tile of queries at a
// time, in float32, and made again in backward from their logarithmic sums, so that memory is linear in T.
// (Dao et al. 2022, "FlashAttention".) Relative positions as in Note [Skewing] of
// trainer/model/relative_attention.cpp.
torch::Tensor FusedAttention(const torch::Tensor& packed, int64_t heads, const torch::Tensor& positions,
                             const torch::Tensor& key_mask, double probability);

}  // namespace trainer::kernels
