#include "trainer/model/transformer.h"

#include "trainer/kernels/linear.h"
#include "trainer/model/masking.h"

namespace trainer::model {
namespace {

// Construct without drawing from the default generator, so that what follows draws what PyTorch would.
template <typename Make>
auto WithoutDrawing(Make make) {
  auto generator = at::detail::getDefaultCPUGenerator();
  const auto state = generator.get_state();
  auto made = make();
  generator.set_state(state);
  return made;
}

}  // namespace

Transformer::Transformer(const TransformerOptions& options)
    : Classifier(options.normalize), prenet_(options.n_mels, options.layer.d_model) {
  register_module("prenet", prenet_);

  auto encoder = std::make_shared<torch::nn::Module>("encoder");
  auto list = std::make_shared<torch::nn::Module>("layers");
  const auto make_layer = [&] { return std::make_shared<TransformerEncoderLayer>(options.layer); };
  for (int64_t i = 0; i < options.layers; ++i) {
    auto layer = i == 0 ? make_layer() : WithoutDrawing(make_layer);
    if (i > 0) {
      torch::NoGradGuard no_grad;
      const auto source = layers_[0]->parameters();
      const auto target = layer->parameters();
      for (size_t p = 0; p < source.size(); ++p) target[p].copy_(source[p]);
    }
    layers_.push_back(list->register_module(std::to_string(i), layer));
  }
  encoder->register_module("layers", list);
  register_module("encoder", encoder);

  MakeHead(options.head);
}

Frames Transformer::Encode(const torch::Tensor& mels, const torch::Tensor& lengths) {
  torch::Tensor key_mask;
  if (lengths.defined()) key_mask = FrameMask(lengths, mels.size(1));
  auto x = kernels::Linear(mels, prenet_).to(torch::kFloat32);
  for (const auto& layer : layers_) x = layer->Forward(x, key_mask);
  return {x, lengths};
}

}  // namespace trainer::model
