#include "trainer/model/factory.h"

#include <stdexcept>

#include "trainer/model/conformer_classifier.h"
#include "trainer/model/transformer.h"

namespace trainer::model {
namespace {

HeadOptions MakeHeadOptions(const config::Config& config, int64_t width, int64_t n_speakers) {
  const auto& model = config.model;
  return {.width = width,
          .n_speakers = n_speakers,
          .pooling = model.pooling,
          .embedding = model.embedding,
          .embedding_norm = model.embedding_norm,
          .embedding_dropout = model.embedding_dropout,
          .type = model.head,
          .scale = config.loss.scale,
          .sub_centres = config.loss.sub_centres};
}

bool IsReference(const config::Config::Model& model) { return model.compat == "reference"; }

}  // namespace

ConformerOptions MakeConformerOptions(const config::Config::Model& model) {
  // The package drops its dropouts.
  const auto dropout = [&](double probability) { return IsReference(model) ? 0 : probability; };
  return {.block = {.dim = model.dim,
                    .dim_head = model.dim_head,
                    .heads = model.heads,
                    .ff_mult = model.ff_mult,
                    .conv_expansion_factor = model.conv_expansion_factor,
                    .conv_kernel_size = model.conv_kernel_size,
                    .max_distance = model.max_distance,
                    .attn_dropout = dropout(model.attn_dropout),
                    .ff_dropout = dropout(model.ff_dropout),
                    .conv_dropout = dropout(model.conv_dropout),
                    .causal = model.causal,
                    .conv_norm = model.conv_norm},
          .depth = model.depth,
          .stochastic_depth = model.stochastic_depth};
}

std::shared_ptr<Classifier> MakeModel(const config::Config& config, int64_t n_mels, int64_t n_speakers) {
  const auto& model = config.model;
  if (model.type == "transformer") {
    return std::make_shared<Transformer>(TransformerOptions{
        .n_mels = n_mels,
        .layers = model.layers,
        .normalize = config.data.normalize,
        .layer = {.d_model = model.d_model,
                  .heads = model.heads,
                  .feed_forward = model.feed_forward,
                  .dropout = model.dropout,
                  .activation = model.activation},
        .head = MakeHeadOptions(config, model.d_model, n_speakers),
    });
  }
  if (model.type == "conformer") {
    return std::make_shared<ConformerClassifier>(ConformerClassifierOptions{
        .n_mels = n_mels,
        .normalize = config.data.normalize,
        .subsampling = model.subsampling,
        .mfa = model.mfa,
        .ignore_lengths = IsReference(model),
        .conformer = MakeConformerOptions(model),
        .head = MakeHeadOptions(config, model.mfa ? model.dim * model.depth : model.dim, n_speakers),
    });
  }
  throw std::logic_error("model.type '" + model.type + "' passed validation but has no model");
}

}  // namespace trainer::model
