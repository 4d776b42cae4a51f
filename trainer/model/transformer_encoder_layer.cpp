#include "trainer/model/transformer_encoder_layer.h"

#include <cmath>
#include <limits>
#include <optional>

#include "trainer/kernels/activation.h"
#include "trainer/kernels/add_norm.h"
#include "trainer/kernels/attention.h"
#include "trainer/kernels/dropout.h"
#include "trainer/kernels/fused.h"
#include "trainer/kernels/linear.h"

namespace trainer::model {

SelfAttention::SelfAttention(int64_t d_model, int64_t heads, double dropout)
    : heads_(heads), dropout_(dropout), out_proj_(d_model, d_model) {
  in_proj_weight_ = register_parameter("in_proj_weight", torch::empty({3 * d_model, d_model}));
  in_proj_bias_ = register_parameter("in_proj_bias", torch::empty({3 * d_model}));
  register_module("out_proj", out_proj_);
  // In PyTorch's order: out_proj's own initialisation has drawn from the generator already.
  torch::nn::init::xavier_uniform_(in_proj_weight_);
  torch::nn::init::zeros_(in_proj_bias_);
  torch::nn::init::zeros_(out_proj_->bias);
}

torch::Tensor SelfAttention::Forward(const torch::Tensor& x, const torch::Tensor& key_mask) {
  const int64_t batch = x.size(0), frames = x.size(1), width = x.size(2);
  const auto packed = kernels::Linear(x, in_proj_weight_, in_proj_bias_);
  const double dropout = is_training() ? dropout_ : 0.0;
  if (kernels::UseFused(packed)) {
    return kernels::Linear(kernels::FusedAttention(packed, heads_, {}, key_mask, dropout), out_proj_);
  }
  const auto qkv = packed.view({batch, frames, 3, heads_, width / heads_})
                       .permute({2, 0, 3, 1, 4})
                       .unbind(0);  // (B, heads, T, dh)
  const auto mask =
      key_mask.defined() ? std::optional<torch::Tensor>(key_mask.unsqueeze(1).unsqueeze(1)) : std::nullopt;
  torch::Tensor attended;
  if (dropout > 0 && x.is_cpu()) {
    // LibTorch's fused kernel for CPUs has no dropout.
    auto scores =
        at::matmul(qkv[0] * (1 / std::sqrt(static_cast<double>(width / heads_))), qkv[1].transpose(2, 3));
    if (mask) scores = scores.masked_fill(mask->logical_not(), -std::numeric_limits<float>::infinity());
    attended = at::matmul(kernels::Dropout(at::softmax(scores, -1), dropout), qkv[2]);
  } else {
    attended = at::scaled_dot_product_attention(qkv[0], qkv[1], qkv[2], mask, dropout);
  }
  return kernels::Linear(attended.transpose(1, 2).reshape({batch, frames, width}), out_proj_);
}

TransformerEncoderLayer::TransformerEncoderLayer(const TransformerEncoderLayerOptions& options)
    : dropout_(options.dropout),
      gelu_(options.activation == "gelu"),
      self_attn_(std::make_shared<SelfAttention>(options.d_model, options.heads, options.dropout)),
      linear1_(options.d_model, options.feed_forward),
      linear2_(options.feed_forward, options.d_model),
      norm1_(torch::nn::LayerNormOptions({options.d_model})),
      norm2_(torch::nn::LayerNormOptions({options.d_model})) {
  register_module("self_attn", self_attn_);
  register_module("linear1", linear1_);
  register_module("linear2", linear2_);
  register_module("norm1", norm1_);
  register_module("norm2", norm2_);
}

torch::Tensor TransformerEncoderLayer::Forward(const torch::Tensor& x, const torch::Tensor& key_mask) {
  const double dropout = is_training() ? dropout_ : 0.0;
  const auto add_norm = [&](const torch::Tensor& residual, const torch::Tensor& branch,
                            torch::nn::LayerNorm& norm) {
    return kernels::AddNorm(residual, branch, 1, dropout, norm->weight, norm->bias, /*full_precision=*/true)
        .normed;
  };
  const auto attended = add_norm(x, self_attn_->Forward(x, key_mask), norm1_);
  const auto hidden =
      kernels::ActivateAndDrop(kernels::Linear(attended, linear1_),
                               gelu_ ? kernels::Activation::kGelu : kernels::Activation::kRelu, dropout);
  return add_norm(attended, kernels::Linear(hidden, linear2_), norm2_);
}

}  // namespace trainer::model
