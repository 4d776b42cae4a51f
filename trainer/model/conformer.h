// The Conformer (Gulati et al. 2020) as the Python package conformer 0.3.2 builds it: the same equations,
// names, shapes and, from the same seed, initial values, so that its weights load by name. Other than there,
// padding has no influence and dropout acts.
#pragma once

#include <torch/torch.h>

#include <string>
#include <vector>

#include "trainer/model/norm.h"

namespace trainer::model {

struct ConformerBlockOptions {
  int64_t dim;
  int64_t dim_head;
  int64_t heads;
  int64_t ff_mult;
  int64_t conv_expansion_factor;
  int64_t conv_kernel_size;
  int64_t max_distance;  // frames; farther keys share one relative position (the package: 512)
  double attn_dropout;
  double ff_dropout;
  double conv_dropout;
  bool causal;            // the convolution sees no later frame, and has no batch norm
  std::string conv_norm;  // batch | sync_batch | layer
};

struct ConformerOptions {
  ConformerBlockOptions block;
  int64_t depth;
  double stochastic_depth;  // of the last block's branches; it rises linearly from the first block on
};

// Half-step feed-forward, attention, convolution, half-step feed-forward, layer norm; each but the last added
// to its input.
class ConformerBlock : public torch::nn::Module {
 public:
  // `branch_dropout`: probability that a branch is left out for an utterance in training; kept ones are
  // scaled up. (Huang et al. 2016, "Deep networks with stochastic depth".)
  ConformerBlock(const ConformerBlockOptions& options, double branch_dropout);

  // x (B, T, dim); mask (B, T) bool, true = real frame, or undefined. Returns (B, T, dim); what it holds in
  // padding is finite and says nothing.
  torch::Tensor Forward(const torch::Tensor& x, const torch::Tensor& mask);

 private:
  struct FeedForward {
    torch::nn::Linear wide{nullptr}, narrow{nullptr};
    torch::nn::LayerNorm norm{nullptr};
  };
  FeedForward MakeFeedForward(const std::string& name);
  void MakeAttention();
  void MakeConvolution();

  // The branches, from their layer norms' outputs on and without the dropout at their ends.
  torch::Tensor Feed(FeedForward& part, const torch::Tensor& normed);
  torch::Tensor Attend(const torch::Tensor& normed, const torch::Tensor& mask);
  torch::Tensor Convolve(const torch::Tensor& normed, const torch::Tensor& mask);

  ConformerBlockOptions options_;
  double branch_dropout_;
  FeedForward ff1_, ff2_;
  torch::nn::LayerNorm attn_norm_{nullptr}, conv_norm_{nullptr}, post_norm_{nullptr};
  torch::nn::Linear to_q_{nullptr}, to_kv_{nullptr}, to_out_{nullptr};
  torch::nn::Embedding rel_pos_emb_{nullptr};
  torch::nn::Conv1d expand_{nullptr}, depthwise_{nullptr}, contract_{nullptr};
  std::unique_ptr<Norm> depthwise_norm_;
};

// `depth` blocks.
class Conformer : public torch::nn::Module {
 public:
  explicit Conformer(const ConformerOptions& options);

  // As ConformerBlock::Forward; one output a block, the last being the Conformer's.
  std::vector<torch::Tensor> Forward(torch::Tensor x, const torch::Tensor& mask);

 private:
  std::vector<std::shared_ptr<ConformerBlock>> layers_;
};

}  // namespace trainer::model
