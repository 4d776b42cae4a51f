// What padding needs: which frames are real, and means over those alone.
#pragma once

#include <torch/torch.h>

namespace trainer::model {

// True where a frame is real: (B, T) bool from lengths (B) int64.
inline torch::Tensor FrameMask(const torch::Tensor& lengths, int64_t n_frames) {
  return torch::arange(n_frames, lengths.options()).unsqueeze(0) < lengths.unsqueeze(1);
}

// Mean over time of x (B, T, D), over real frames alone where `lengths` (B) is defined. Returns (B, D).
inline torch::Tensor MeanOverTime(const torch::Tensor& x, const torch::Tensor& lengths) {
  if (!lengths.defined()) return x.mean(1);
  const auto mask = FrameMask(lengths, x.size(1)).unsqueeze(2);
  return x.masked_fill(mask.logical_not(), 0).sum(1) / lengths.unsqueeze(1).to(x.scalar_type());
}

}  // namespace trainer::model
