#include "trainer/model/conformer.h"

#include "trainer/kernels/activation.h"
#include "trainer/kernels/add_norm.h"
#include "trainer/kernels/attention.h"
#include "trainer/kernels/dropout.h"
#include "trainer/kernels/fused.h"
#include "trainer/kernels/glu_depthwise.h"
#include "trainer/kernels/linear.h"
#include "trainer/model/relative_attention.h"

namespace trainer::model {
namespace {

using torch::nn::Module;

std::shared_ptr<Module> AddScope(Module& parent, const std::string& name) {
  return parent.register_module(name, std::make_shared<Module>());
}

torch::nn::LayerNorm MakeLayerNorm(int64_t width) {
  return torch::nn::LayerNorm(torch::nn::LayerNormOptions({width}));
}

// A convolution over one frame is a linear layer.
torch::Tensor Pointwise(const torch::nn::Conv1d& convolution, const torch::Tensor& x) {
  return kernels::Linear(x, convolution->weight, convolution->bias);
}

}  // namespace

ConformerBlock::ConformerBlock(const ConformerBlockOptions& options, double branch_dropout)
    : options_(options), branch_dropout_(branch_dropout) {
  ff1_ = MakeFeedForward("ff1");
  MakeAttention();
  MakeConvolution();
  ff2_ = MakeFeedForward("ff2");
  post_norm_ = register_module("post_norm", MakeLayerNorm(options.dim));
}

// The scopes and numbers in names are Python's: of wrappers, and of positions in an nn.Sequential.
ConformerBlock::FeedForward ConformerBlock::MakeFeedForward(const std::string& name) {
  const auto pre_norm = AddScope(*AddScope(*this, name), "fn");
  const auto net = AddScope(*AddScope(*pre_norm, "fn"), "net");
  const int64_t inner = options_.dim * options_.ff_mult;
  FeedForward part;
  part.wide = net->register_module("0", torch::nn::Linear(options_.dim, inner));
  part.narrow = net->register_module("3", torch::nn::Linear(inner, options_.dim));
  part.norm = pre_norm->register_module("norm", MakeLayerNorm(options_.dim));
  return part;
}

void ConformerBlock::MakeAttention() {
  const auto pre_norm = AddScope(*this, "attn");
  const auto fn = AddScope(*pre_norm, "fn");
  const int64_t inner = options_.heads * options_.dim_head;
  const auto without_bias = [&](int64_t width) {
    return torch::nn::Linear(torch::nn::LinearOptions(options_.dim, width).bias(false));
  };
  to_q_ = fn->register_module("to_q", without_bias(inner));
  to_kv_ = fn->register_module("to_kv", without_bias(2 * inner));
  to_out_ = fn->register_module("to_out", torch::nn::Linear(inner, options_.dim));
  rel_pos_emb_ = fn->register_module("rel_pos_emb",
                                     torch::nn::Embedding(2 * options_.max_distance + 1, options_.dim_head));
  attn_norm_ = pre_norm->register_module("norm", MakeLayerNorm(options_.dim));
}

void ConformerBlock::MakeConvolution() {
  const auto net = AddScope(*AddScope(*this, "conv"), "net");
  const int64_t inner = options_.dim * options_.conv_expansion_factor;
  conv_norm_ = net->register_module("0", MakeLayerNorm(options_.dim));
  expand_ =
      net->register_module("2", torch::nn::Conv1d(torch::nn::Conv1dOptions(options_.dim, 2 * inner, 1)));
  const auto depthwise = torch::nn::Conv1dOptions(inner, inner, options_.conv_kernel_size).groups(inner);
  depthwise_ = AddScope(*net, "4")->register_module("conv", torch::nn::Conv1d(depthwise));
  const bool batch_norm = options_.conv_norm != "layer";
  depthwise_norm_ =
      std::make_unique<Norm>(options_.causal && batch_norm ? "none" : options_.conv_norm, inner, "5", *net);
  contract_ = net->register_module("7", torch::nn::Conv1d(torch::nn::Conv1dOptions(inner, options_.dim, 1)));
}

torch::Tensor ConformerBlock::Feed(FeedForward& part, const torch::Tensor& normed) {
  const auto hidden = kernels::ActivateAndDrop(kernels::Linear(normed, part.wide), kernels::Activation::kSilu,
                                               is_training() ? options_.ff_dropout : 0.0);
  return kernels::Linear(hidden, part.narrow);
}

torch::Tensor ConformerBlock::Attend(const torch::Tensor& normed, const torch::Tensor& mask) {
  const int64_t batch = normed.size(0), frames = normed.size(1);
  const auto weight = at::cat({to_q_->weight, to_kv_->weight});
  const auto packed = kernels::Linear(normed, weight, {});
  if (kernels::UseFused(packed)) {
    return kernels::Linear(kernels::FusedAttention(packed, options_.heads, rel_pos_emb_->weight, mask, 0),
                           to_out_);
  }
  const auto qkv =
      packed.view({batch, frames, 3, options_.heads, options_.dim_head}).permute({2, 0, 3, 1, 4}).unbind(0);
  const auto attended = RelativeAttention(qkv[0], qkv[1], qkv[2], rel_pos_emb_->weight, mask);
  return kernels::Linear(attended.transpose(1, 2).reshape({batch, frames, -1}), to_out_);
}

torch::Tensor ConformerBlock::Convolve(const torch::Tensor& normed, const torch::Tensor& mask) {
  const int64_t kernel = options_.conv_kernel_size;
  const auto frame_mask = mask.defined() ? mask.unsqueeze(2) : torch::Tensor();
  const auto gated = Pointwise(expand_, normed);
  // An even kernel reaches one frame farther to the left.
  const int64_t left = options_.causal ? kernel - 1 : kernel / 2;
  // The gradient of a bias before batch norm is 0. Computed, it would be rounding, which AdamW scales up to
  // full steps.
  const bool bias_gradient = !is_training() || !depthwise_norm_->removes_bias();
  torch::Tensor y;
  if (kernels::UseFused(gated)) {
    y = kernels::GluDepthwise(gated, mask, depthwise_->weight, depthwise_->bias, bias_gradient, left);
  } else {
    y = at::glu(gated, -1);
    // Frames after the end must be what a shorter batch would have there: zeros.
    if (mask.defined()) y = y.masked_fill(frame_mask.logical_not(), 0);
    const int64_t right = options_.causal ? 0 : kernel / 2 - (kernel + 1) % 2;
    int64_t padding = left;
    if (left != right) {
      y = at::constant_pad_nd(y, {0, 0, left, right});
      padding = 0;
    }
    // As a picture of height 1 with the channels last, which is how y lies in memory: on CPUs several times
    // faster than conv1d.
    const auto image = y.transpose(1, 2).unsqueeze(2);  // (B, C, 1, T)
    const auto bias = bias_gradient ? depthwise_->bias : depthwise_->bias.detach() + 0 * depthwise_->bias;
    const auto weight = depthwise_->weight.unsqueeze(2);  // (C, 1, 1, kernel)
    y = at::conv2d(image, weight, bias, at::IntArrayRef{1}, at::IntArrayRef{0, padding}, at::IntArrayRef{1},
                   /*groups=*/y.size(2));
    y = y.squeeze(2).transpose(1, 2);
  }
  return Pointwise(contract_, depthwise_norm_->ForwardSilu(y, frame_mask));
}

torch::Tensor ConformerBlock::Forward(const torch::Tensor& x, const torch::Tensor& mask) {
  torch::Tensor sum = x;
  // The sum with a branch, and its norm, which the next branch begins with.
  const auto add_norm = [&](const torch::Tensor& branch, double scale, double dropout,
                            torch::nn::LayerNorm& norm, bool full_precision = false) {
    const auto kept =
        branch.defined() && is_training() ? kernels::DropUtterances(branch, branch_dropout_) : branch;
    const auto added = kernels::AddNorm(sum, kept, scale, is_training() ? dropout : 0.0, norm->weight,
                                        norm->bias, full_precision);
    sum = added.sum;
    return added.normed;
  };
  auto normed = add_norm({}, 1, 0, ff1_.norm);
  normed = add_norm(Feed(ff1_, normed), 0.5, options_.ff_dropout, attn_norm_);
  normed = add_norm(Attend(normed, mask), 1, options_.attn_dropout, conv_norm_);
  normed = add_norm(Convolve(normed, mask), 1, options_.conv_dropout, ff2_.norm);
  return add_norm(Feed(ff2_, normed), 0.5, options_.ff_dropout, post_norm_, /*full_precision=*/true);
}

Conformer::Conformer(const ConformerOptions& options) {
  const auto list = AddScope(*this, "layers");
  for (int64_t i = 0; i < options.depth; ++i) {
    const double branch_dropout =
        options.stochastic_depth * static_cast<double>(i + 1) / static_cast<double>(options.depth);
    layers_.push_back(list->register_module(std::to_string(i),
                                            std::make_shared<ConformerBlock>(options.block, branch_dropout)));
  }
}

std::vector<torch::Tensor> Conformer::Forward(torch::Tensor x, const torch::Tensor& mask) {
  std::vector<torch::Tensor> outputs;
  for (const auto& layer : layers_) {
    x = layer->Forward(x, mask);
    outputs.push_back(x);
  }
  return outputs;
}

}  // namespace trainer::model
