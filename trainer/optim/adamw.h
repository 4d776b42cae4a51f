// AdamW over flat parameters: one fused call an update.
#pragma once

#include <torch/torch.h>

#include "trainer/optim/flat_parameters.h"

namespace trainer::optim {

struct AdamWOptions {
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0.01;
  double clip_norm = 0;  // the largest global gradient norm; 0: no clipping
};

// Global norms, scalar tensors on the device.
struct StepNorms {
  torch::Tensor gradient;  // before clipping
  torch::Tensor update;    // of what was added to the parameters; undefined where it was not asked for
};

// torch.optim.AdamW with its defaults (decoupled weight decay on every parameter). All work is queued on the
// current stream; nothing synchronises.
class AdamW {
 public:
  AdamW(const FlatParameters& parameters, const AdamWOptions& options);

  // One update with the gradients as they stand. Clips them first if asked to, as
  // torch.nn.utils.clip_grad_norm_ does. `measure_update` takes a little longer and changes no parameter.
  StepNorms Step(double learning_rate, bool measure_update = false);

  // The state to save: both moments (P), and the number of updates done.
  const torch::Tensor& exp_avg() const { return exp_avg_; }
  const torch::Tensor& exp_avg_sq() const { return exp_avg_sq_; }
  void set_updates(int64_t updates) { updates_.fill_(static_cast<double>(updates)); }

 private:
  // Parameters first, first + 1, ..., `count` of them.
  void Update(int64_t first, int64_t count, double learning_rate);

  const FlatParameters& parameters_;
  AdamWOptions options_;
  torch::Tensor exp_avg_, exp_avg_sq_;
  torch::Tensor updates_;  // () float32, on the device: what the fused kernel takes
};

}  // namespace trainer::optim
