#include "trainer/model/flops.h"

#include "trainer/model/pooling.h"

namespace trainer::model {
namespace {

// (rows, in) times (in, out)
double Product(double rows, double in, double out) { return 2 * rows * in * out; }

double TransformerFlops(const config::Config::Model& model, double n_mels, double frames) {
  const auto width = static_cast<double>(model.d_model), wide = static_cast<double>(model.feed_forward);
  const double attention = 2 * Product(frames, width, frames);  // of all heads: scores and weighted values
  const double layer = Product(frames, width, 4 * width) + attention + 2 * Product(frames, width, wide);
  return Product(frames, n_mels, width) + static_cast<double>(model.layers) * layer;
}

// `frames` becomes those that the subsampling leaves.
double ConformerFlops(const config::Config::Model& model, double n_mels, double& frames) {
  const auto dim = static_cast<double>(model.dim);
  double flops = 0;
  if (model.subsampling == 1) flops = Product(frames, n_mels, dim);
  for (int64_t factor = 1; factor < model.subsampling; factor *= 2) {
    frames = static_cast<double>((static_cast<int64_t>(frames) + 1) / 2);
    flops += Product(frames, 3 * (factor == 1 ? n_mels : dim), dim);
  }
  const double heads_width = static_cast<double>(model.heads * model.dim_head);
  const double wide = dim * static_cast<double>(model.ff_mult);
  const double inner = dim * static_cast<double>(model.conv_expansion_factor);
  const double feed_forward = 2 * Product(frames, dim, wide);
  const double attention = Product(frames, dim, 4 * heads_width) + 2 * Product(frames, heads_width, frames) +
                           Product(frames, heads_width, 2 * frames - 1);
  const double convolution =
      Product(frames, dim, 3 * inner) + Product(frames, static_cast<double>(model.conv_kernel_size), inner);
  return flops + static_cast<double>(model.depth) * (2 * feed_forward + attention + convolution);
}

}  // namespace

double ForwardFlops(const config::Config& config, int64_t n_mels, int64_t n_speakers, int64_t frames) {
  const auto& model = config.model;
  auto time = static_cast<double>(frames);
  const bool conformer = model.type == "conformer";
  double flops = conformer ? ConformerFlops(model, static_cast<double>(n_mels), time)
                           : TransformerFlops(model, static_cast<double>(n_mels), time);
  double width = static_cast<double>(!conformer ? model.d_model : model.dim * (model.mfa ? model.depth : 1));
  if (model.pooling == "self_attentive" || model.pooling == "attentive_statistics") {
    flops += Product(time, width, kPoolingAttentionWidth) + Product(time, kPoolingAttentionWidth, 1);
  }
  if (model.pooling == "statistics" || model.pooling == "attentive_statistics") width *= 2;
  if (model.embedding > 0) {
    flops += Product(1, width, static_cast<double>(model.embedding));
    width = static_cast<double>(model.embedding);
  }
  if (model.head == "mlp") flops += Product(1, width, width);
  const int64_t centres = model.head == "cosine" ? config.loss.sub_centres : 1;
  return flops + Product(1, width, static_cast<double>(n_speakers * centres));
}

}  // namespace trainer::model
