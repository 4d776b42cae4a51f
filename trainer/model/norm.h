// Normalisation of frames with the feature last: batch norm that knows of padding and of other ranks, and
// layer norm, behind one call.
#pragma once

#include <torch/torch.h>

#include <memory>
#include <string>

#include "trainer/kernels/batch_norm_silu.h"

namespace trainer::model {

using kernels::AllReduce;

// torch.nn.BatchNorm1d (eps 1e-5, momentum 0.1; same names of parameters and buffers) over all but the last
// dimension. (Ioffe and Szegedy 2015.)
class BatchNorm : public torch::nn::Module {
 public:
  // `synchronised`: statistics are taken over all ranks, once Synchronise has said how.
  BatchNorm(int64_t features, bool synchronised);

  // x (..., C); `mask` (..., 1) bool, false where a row is padding and must not count, or undefined. A
  // single row that counts has variance 0. Returns (..., C); padding rows hold anything finite.
  torch::Tensor Forward(const torch::Tensor& x, const torch::Tensor& mask);

  // silu of it; x may be bfloat16, too.
  torch::Tensor ForwardSilu(const torch::Tensor& x, const torch::Tensor& mask);

  void Synchronise(std::shared_ptr<const AllReduce> all_reduce);
  bool synchronised() const { return synchronised_; }

 private:
  torch::Tensor Train(const torch::Tensor& x, const torch::Tensor& mask);
  void Track(const torch::Tensor& mean, const torch::Tensor& variance, const torch::Tensor& count);

  bool synchronised_;
  std::shared_ptr<const AllReduce> all_reduce_;
  torch::Tensor weight_, bias_, running_mean_, running_var_, num_batches_tracked_;
};

// One of: none | batch | sync_batch | layer.
class Norm {
 public:
  // Registers its module, if it has one, as `name` in `parent`.
  Norm(const std::string& kind, int64_t features, const std::string& name, torch::nn::Module& parent);

  // As BatchNorm's.
  torch::Tensor Forward(const torch::Tensor& x, const torch::Tensor& mask);
  torch::Tensor ForwardSilu(const torch::Tensor& x, const torch::Tensor& mask);

  // Whether, in training, what is added to every row alike is taken off again.
  bool removes_bias() const { return batch_ != nullptr; }

 private:
  std::shared_ptr<BatchNorm> batch_;
  torch::nn::LayerNorm layer_{nullptr};
};

}  // namespace trainer::model
