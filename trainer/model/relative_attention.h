// Softmax attention with learned relative positions, in memory that is linear in T apart from the scores.
#pragma once

#include <torch/torch.h>

namespace trainer::model {

// For every utterance b and head h
//
//   s(i, j) = dh^-1/2 * (q_i . k_j + q_i . e_r(i, j)),   r(i, j) = clamp(i - j, -M, M) + M
//   o_i = sum over j of softmax_j(s(i, j)) v_j
//
// (Shaw et al. 2018, "Self-attention with relative position representations", keys only.)
//
//   query, key, value  (B, h, T, dh) float32
//   positions          (2M + 1, dh): e, shared by the heads
//   key_mask           (B, T) bool, true = may be attended to (at least one in each row), or undefined
//   returns            (B, h, T, dh)
//
// Where gradients are not wanted, it works through the queries in slices, so that at most
// `scores_budget_bytes` of scores exist at a time (but one row of them at least).
torch::Tensor RelativeAttention(const torch::Tensor& query, const torch::Tensor& key,
                                const torch::Tensor& value, const torch::Tensor& positions,
                                const torch::Tensor& key_mask, int64_t scores_budget_bytes = 64 << 20);

}  // namespace trainer::model
