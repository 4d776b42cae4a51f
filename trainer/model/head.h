// What follows the encoder: frames -> pooling -> embedding -> logits.
#pragma once

#include <torch/torch.h>

#include <memory>
#include <string>

#include "trainer/model/norm.h"
#include "trainer/model/pooling.h"

namespace trainer::model {

struct HeadOptions {
  int64_t width;  // D, of the encoder's frames
  int64_t n_speakers;
  std::string pooling;         // see Pooling
  int64_t embedding;           // width of a linear layer after the pooling; 0: none
  std::string embedding_norm;  // none | batch | sync_batch | layer
  double embedding_dropout;
  std::string type;  // mlp: Linear-ReLU-Linear; linear: Linear; cosine: scale times the cosine with a centre
  double scale;      // cosine
  int64_t
      sub_centres;  // cosine: centres a speaker, the nearest counts (Deng et al. 2020, "Sub-center ArcFace")
};

// Registers its modules in the model: pooling, embedding, embedding_norm, pred_layer.
class Head {
 public:
  Head(const HeadOptions& options, torch::nn::Module& model);

  // frames (B, T, D), lengths (B) or undefined; returns the embedding (B, E), which is what the last layer
  // gets.
  torch::Tensor Embed(const torch::Tensor& frames, const torch::Tensor& lengths);

  // embedding (B, E) to logits (B, n_speakers).
  torch::Tensor Logits(const torch::Tensor& embedding);

 private:
  HeadOptions options_;
  torch::nn::Module& model_;  // owns this
  std::shared_ptr<Pooling> pooling_;
  torch::nn::Linear embedding_{nullptr};
  std::unique_ptr<Norm> embedding_norm_;
  torch::nn::Linear hidden_{nullptr}, last_{nullptr};
  torch::Tensor centres_;  // (n_speakers * sub_centres, E)
};

}  // namespace trainer::model
