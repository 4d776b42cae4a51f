#include "trainer/model/conformer.h"

#include "trainer/model/dropout.h"
#include "trainer/model/linear.h"
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
  return Linear(x, convolution->weight.squeeze(2), convolution->bias);
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

torch::Tensor ConformerBlock::Drop(const torch::Tensor& x, double probability) const {
  return is_training() ? Dropout(x, probability) : x;
}

torch::Tensor ConformerBlock::DropBranch(const torch::Tensor& x) const {
  if (!is_training() || branch_dropout_ == 0) return x;
  const auto keep = torch::empty({x.size(0), 1, 1}, x.options()).bernoulli_(1 - branch_dropout_);
  return x * (keep / (1 - branch_dropout_));
}

torch::Tensor ConformerBlock::Feed(FeedForward& part, const torch::Tensor& x) {
  const auto hidden = Drop(at::silu(Linear(part.norm(x), part.wide)), options_.ff_dropout);
  return 0.5 * Drop(Linear(hidden, part.narrow), options_.ff_dropout);
}

torch::Tensor ConformerBlock::Attend(const torch::Tensor& x, const torch::Tensor& mask) {
  const int64_t batch = x.size(0), frames = x.size(1);
  const auto split = [&](const torch::Tensor& t) {  // (B, T, h dh) to (B, h, T, dh)
    return t.view({batch, frames, -1, options_.dim_head}).transpose(1, 2);
  };
  const auto y = attn_norm_(x);
  const auto kv = Linear(y, to_kv_).view({batch, frames, 2, -1}).unbind(2);
  const auto attended =
      RelativeAttention(split(Linear(y, to_q_)), split(kv[0]), split(kv[1]), rel_pos_emb_->weight, mask);
  const auto merged = attended.transpose(1, 2).reshape({batch, frames, options_.heads * options_.dim_head});
  return Drop(Linear(merged, to_out_), options_.attn_dropout);
}

torch::Tensor ConformerBlock::Convolve(const torch::Tensor& x, const torch::Tensor& mask) {
  const int64_t kernel = options_.conv_kernel_size;
  const auto frame_mask = mask.defined() ? mask.unsqueeze(2) : torch::Tensor();
  auto y = at::glu(Pointwise(expand_, conv_norm_(x)), -1);
  // Frames after the end must be what a shorter batch would have there: zeros.
  if (mask.defined()) y = y.masked_fill(frame_mask.logical_not(), 0);
  // An even kernel reaches one frame farther to the left.
  const int64_t left = options_.causal ? kernel - 1 : kernel / 2;
  const int64_t right = options_.causal ? 0 : kernel / 2 - (kernel + 1) % 2;
  int64_t padding = left;
  if (left != right) {
    y = at::constant_pad_nd(y, {0, 0, left, right});
    padding = 0;
  }
  // As a picture of height 1 with the channels last, which is how y lies in memory: on CPUs several times
  // faster than conv1d.
  const auto image = y.transpose(1, 2).unsqueeze(2);  // (B, C, 1, T)
  // The gradient of a bias before batch norm is 0. Computed, it would be rounding, which AdamW scales up to
  // full steps.
  const auto bias = is_training() && depthwise_norm_->removes_bias()
                        ? depthwise_->bias.detach() + 0 * depthwise_->bias
                        : depthwise_->bias;
  const auto weight = depthwise_->weight.unsqueeze(2);  // (C, 1, 1, kernel)
  y = at::conv2d(image, weight, bias, at::IntArrayRef{1}, at::IntArrayRef{0, padding}, at::IntArrayRef{1},
                 /*groups=*/y.size(2));
  y = y.squeeze(2).transpose(1, 2);
  y = at::silu(depthwise_norm_->Forward(y, frame_mask));
  return Drop(Pointwise(contract_, y), options_.conv_dropout);
}

torch::Tensor ConformerBlock::Forward(const torch::Tensor& x, const torch::Tensor& mask) {
  auto y = x + DropBranch(Feed(ff1_, x));
  y = y + DropBranch(Attend(y, mask));
  y = y + DropBranch(Convolve(y, mask));
  y = y + DropBranch(Feed(ff2_, y));
  return post_norm_(y);
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
