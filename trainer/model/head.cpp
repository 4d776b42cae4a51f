#include "trainer/model/head.h"

#include "trainer/kernels/dropout.h"

namespace trainer::model {

Head::Head(const HeadOptions& options, torch::nn::Module& model) : options_(options), model_(model) {
  pooling_ = model.register_module("pooling", std::make_shared<Pooling>(options.pooling, options.width));
  int64_t width = pooling_->output_width();
  if (options.embedding > 0) {
    // A batch norm would take a bias off again.
    const bool bias = options.embedding_norm == "none" || options.embedding_norm == "layer";
    embedding_ = model.register_module(
        "embedding", torch::nn::Linear(torch::nn::LinearOptions(width, options.embedding).bias(bias)));
    width = options.embedding;
    embedding_norm_ = std::make_unique<Norm>(options.embedding_norm, width, "embedding_norm", model);
  }
  if (options.type == "mlp") {
    // One after the other: as arguments of one call they would draw their initial values in any order.
    hidden_ = torch::nn::Linear(width, width);
    last_ = torch::nn::Linear(width, options.n_speakers);
    torch::nn::Sequential layers;
    layers->push_back(hidden_);
    layers->push_back(torch::nn::ReLU());
    layers->push_back(last_);
    model.register_module("pred_layer", layers);
  } else if (options.type == "linear") {
    last_ = model.register_module("pred_layer", torch::nn::Linear(width, options.n_speakers));
  } else {
    TORCH_CHECK(options.type == "cosine", "there is no head '", options.type, "'");
    auto layer = model.register_module("pred_layer", std::make_shared<torch::nn::Module>());
    centres_ =
        layer->register_parameter("weight", torch::empty({options.n_speakers * options.sub_centres, width}));
    torch::nn::init::xavier_uniform_(centres_);
  }
}

torch::Tensor Head::Embed(const torch::Tensor& frames, const torch::Tensor& lengths) {
  auto x = pooling_->Forward(frames, lengths);
  if (embedding_) x = embedding_norm_->Forward(embedding_(x), torch::Tensor());
  if (hidden_) x = at::relu(hidden_(x));
  return model_.is_training() ? kernels::Dropout(x, options_.embedding_dropout) : x;
}

torch::Tensor Head::Logits(const torch::Tensor& embedding) {
  if (last_) return last_(embedding);
  namespace F = torch::nn::functional;
  const auto unit = [](const torch::Tensor& x) { return F::normalize(x, F::NormalizeFuncOptions().dim(1)); };
  auto cosines = at::linear(unit(embedding), unit(centres_));
  if (options_.sub_centres > 1) {
    cosines = cosines.view({-1, options_.n_speakers, options_.sub_centres}).amax(2);
  }
  return cosines * options_.scale;
}

}  // namespace trainer::model
