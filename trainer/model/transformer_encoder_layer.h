// torch.nn.TransformerEncoderLayer (post-norm), batch first, on at::scaled_dot_product_attention.
//
// LibTorch's own C++ module is not used: it multiplies query and key by hand everywhere, which keeps the (T,
// T) scores of every head in memory and is slower. Here that is so only in training on a CPU with dropout,
// which the fused kernel has not. Parameter names, order of construction and initial values are PyTorch's.
#pragma once

#include <torch/torch.h>

#include <string>

namespace trainer::model {

struct TransformerEncoderLayerOptions {
  int64_t d_model;
  int64_t heads;  // divides d_model
  int64_t feed_forward;
  double dropout;
  std::string activation;  // relu | gelu
};

// Multi-head self-attention with torch.nn.MultiheadAttention's parameters: in_proj_weight (3D, D),
// in_proj_bias (3D), out_proj.weight (D, D), out_proj.bias (D).
class SelfAttention : public torch::nn::Module {
 public:
  SelfAttention(int64_t d_model, int64_t heads, double dropout);

  // x (B, T, D); key_mask (B, 1, 1, T) bool, true = may be attended to, or undefined. Returns (B, T, D).
  torch::Tensor Forward(const torch::Tensor& x, const torch::Tensor& key_mask);

 private:
  int64_t heads_;
  double dropout_;
  torch::Tensor in_proj_weight_, in_proj_bias_;
  torch::nn::Linear out_proj_;
};

class TransformerEncoderLayer : public torch::nn::Module {
 public:
  explicit TransformerEncoderLayer(const TransformerEncoderLayerOptions& options);

  // x = norm1(x + drop(attention(x))); x = norm2(x + drop(linear2(drop(activation(linear1(x)))))).
  // Shapes as SelfAttention::Forward.
  torch::Tensor Forward(const torch::Tensor& x, const torch::Tensor& key_mask);

 private:
  double dropout_;
  bool gelu_;
  std::shared_ptr<SelfAttention> self_attn_;
  torch::nn::Linear linear1_, linear2_;
  torch::nn::LayerNorm norm1_, norm2_;
};

}  // namespace trainer::model
