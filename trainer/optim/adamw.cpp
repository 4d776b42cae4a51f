#include "trainer/optim/adamw.h"

namespace trainer::optim {

AdamW::AdamW(const FlatParameters& parameters, const AdamWOptions& options)
    : parameters_(parameters),
      options_(options),
      exp_avg_(torch::zeros_like(parameters.values())),
      exp_avg_sq_(torch::zeros_like(parameters.values())),
      updates_(torch::zeros({}, parameters.values().options())) {}

torch::Tensor AdamW::Step(double learning_rate) {
  torch::NoGradGuard no_grad;
  auto gradients = parameters_.gradients();
  auto norm = at::linalg_vector_norm(gradients);
  if (options_.clip_norm > 0) {
    const auto factor = (options_.clip_norm / (norm + 1e-6)).clamp_max(1.0);
    // On a GPU it would cost more to find out.
    const bool clips = !factor.is_cpu() || factor.item<float>() != 1;
    if (clips) gradients.mul_(factor);
  }
  updates_.add_(1);
  at::_fused_adamw_({parameters_.values()}, {gradients}, {exp_avg_}, {exp_avg_sq_}, {}, {updates_},
                    learning_rate, options_.beta1, options_.beta2, options_.weight_decay, options_.eps,
                    /*amsgrad=*/false,
                    /*maximize=*/false);
  return norm;
}

}  // namespace trainer::optim
