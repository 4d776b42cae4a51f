// The Transformer baselines of HW4: Linear -> encoder layers.
#pragma once

#include <string>
#include <vector>

#include "trainer/model/classifier.h"
#include "trainer/model/transformer_encoder_layer.h"

namespace trainer::model {

struct TransformerOptions {
  int64_t n_mels;
  int64_t layers;
  std::string normalize;  // as Classifier
  TransformerEncoderLayerOptions layer;
  HeadOptions head;
};

// In Python, with the same parameter names and, from the same seed, the same initial values:
//
//   self.prenet = nn.Linear(n_mels, d_model)
//   self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(...), layers)
//   self.pred_layer = nn.Linear(...)  or  nn.Sequential(nn.Linear(...), nn.ReLU(), nn.Linear(...))  # after
//                                                                                      the mean over time
//
// As nn.TransformerEncoder copies one layer, all layers start from equal values.
class Transformer : public Classifier {
 public:
  explicit Transformer(const TransformerOptions& options);
  int64_t n_mels() const override { return prenet_->options.in_features(); }

 private:
  Frames Encode(const torch::Tensor& mels, const torch::Tensor& lengths) override;

  torch::nn::Linear prenet_;
  std::vector<std::shared_ptr<TransformerEncoderLayer>> layers_;
};

}  // namespace trainer::model
