#include "trainer/model/conformer_classifier.h"

#include "trainer/kernels/linear.h"
#include "trainer/model/masking.h"

namespace trainer::model {
namespace {

torch::Tensor WithoutPadding(const torch::Tensor& x, const torch::Tensor& lengths) {
  if (!lengths.defined()) return x;
  return x.masked_fill(FrameMask(lengths, x.size(1)).logical_not().unsqueeze(2), 0);
}

}  // namespace

ConformerClassifier::ConformerClassifier(const ConformerClassifierOptions& options)
    : Classifier(options.normalize), options_(options) {
  const int64_t dim = options.conformer.block.dim;
  if (options.subsampling == 1) {
    prenet_ = register_module("prenet", torch::nn::Linear(options.n_mels, dim));
  } else {
    auto list = register_module("subsampling", std::make_shared<torch::nn::Module>());
    for (int64_t factor = 1; factor < options.subsampling; factor *= 2) {
      const auto convolution =
          torch::nn::Conv1dOptions(factor == 1 ? options.n_mels : dim, dim, 3).stride(2).padding(1);
      subsampling_.push_back(
          list->register_module(std::to_string(subsampling_.size()), torch::nn::Conv1d(convolution)));
    }
  }
  encoder_ = register_module("encoder", std::make_shared<Conformer>(options.conformer));
  if (options.mfa) {
    const auto width = torch::nn::LayerNormOptions({dim * options.conformer.depth});
    mfa_norm_ = register_module("mfa_norm", torch::nn::LayerNorm(width));
  }
  MakeHead(options.head);
}

Frames ConformerClassifier::Encode(const torch::Tensor& mels, const torch::Tensor& given_lengths) {
  auto lengths = options_.ignore_lengths ? torch::Tensor() : given_lengths;
  torch::Tensor x = mels;
  if (prenet_) x = kernels::Linear(x, prenet_).to(torch::kFloat32);
  for (auto& convolution : subsampling_) {
    // Frames after the end must be what the convolution pads with.
    x = at::silu(convolution(WithoutPadding(x, lengths).transpose(1, 2))).transpose(1, 2);
    if (lengths.defined()) lengths = (lengths + 1).div(2, "floor");
  }
  const auto mask = lengths.defined() ? FrameMask(lengths, x.size(1)) : torch::Tensor();
  const auto outputs = encoder_->Forward(x.contiguous(), mask);
  return {mfa_norm_ ? mfa_norm_(torch::cat(outputs, 2)) : outputs.back(), lengths};
}

}  // namespace trainer::model
