// From a configuration to a model.
#pragma once

#include <memory>

#include "trainer/config/config.h"
#include "trainer/model/classifier.h"
#include "trainer/model/conformer.h"

namespace trainer::model {

// The model that `config` (already validated) describes: its sections model and loss, and data.normalize. On
// the CPU in float32, in training mode. Draws its initial values from LibTorch's default CPU generator: seed
// it first. To add a model: one `type` here, one in the config.
std::shared_ptr<Classifier> MakeModel(const config::Config& config, int64_t n_mels, int64_t n_speakers);

// The encoder alone, of model.type conformer.
ConformerOptions MakeConformerOptions(const config::Config::Model& model);

}  // namespace trainer::model
