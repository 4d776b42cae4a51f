#include "trainer/model/factory.h"

#include <stdexcept>

#include "trainer/model/transformer.h"

namespace trainer::model {

std::shared_ptr<Classifier> MakeModel(const config::Config::Model& config, int64_t n_mels,
                                      int64_t n_speakers) {
  if (config.type == "transformer") {
    return std::make_shared<Transformer>(TransformerOptions{
        .n_mels = n_mels,
        .n_speakers = n_speakers,
        .layers = config.layers,
        .head = config.head,
        .layer = {.d_model = config.d_model,
                  .heads = config.heads,
                  .feed_forward = config.feed_forward,
                  .dropout = config.dropout,
                  .activation = config.activation},
    });
  }
  throw std::logic_error("model.type '" + config.type + "' passed validation but has no model");
}

}  // namespace trainer::model
