#include "trainer/model/pooling.h"

#include <limits>

#include "trainer/kernels/linear.h"
#include "trainer/model/masking.h"

namespace trainer::model {
namespace {
constexpr double kLeastVariance = 1e-7;  // keeps the root's gradient finite
}  // namespace

Pooling::Pooling(const std::string& type, int64_t width)
    : width_(width),
      attentive_(type == "self_attentive" || type == "attentive_statistics"),
      deviation_(type == "statistics" || type == "attentive_statistics") {
  TORCH_CHECK(attentive_ || deviation_ || type == "mean", "there is no pooling '", type, "'");
  if (attentive_) {
    projection_ = register_module("projection", torch::nn::Linear(width, kPoolingAttentionWidth));
    // No bias: the softmax would take it off again.
    score_ = register_module(
        "score", torch::nn::Linear(torch::nn::LinearOptions(kPoolingAttentionWidth, 1).bias(false)));
  }
}

torch::Tensor Pooling::Forward(const torch::Tensor& frames, const torch::Tensor& lengths) {
  torch::Tensor weights;  // (B, T, 1)
  if (attentive_) {
    auto scores = score_(at::tanh(kernels::Linear(frames, projection_).to(torch::kFloat32)));
    if (lengths.defined()) {
      const auto padding = FrameMask(lengths, frames.size(1)).logical_not().unsqueeze(2);
      scores = scores.masked_fill(padding, -std::numeric_limits<float>::infinity());
    }
    weights = at::softmax(scores, 1);
  }
  const auto mean_of = [&](const torch::Tensor& x) {
    // Padding may hold anything finite, and its weight is exactly 0.
    return attentive_ ? (x * weights).sum(1) : MeanOverTime(x, lengths);
  };
  const auto mean = mean_of(frames);
  if (!deviation_) return mean;
  const auto variance = mean_of((frames - mean.unsqueeze(1)).square());
  return torch::cat({mean, variance.clamp_min(kLeastVariance).sqrt()}, 1);
}

}  // namespace trainer::model
