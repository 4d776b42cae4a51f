#include "trainer/optim/adamw.h"

#include <algorithm>
#include <vector>

namespace trainer::optim {
namespace {
// The parameters as they were are kept for so many at a time: 16 MiB, not the whole model once more. A
// multiple of what a processor takes at a time, so that all are updated as they would be at one go.
constexpr int64_t kMeasuredAtATime = int64_t{1} << 22;
}  // namespace

AdamW::AdamW(const FlatParameters& parameters, const AdamWOptions& options)
    : parameters_(parameters),
      options_(options),
      exp_avg_(torch::zeros_like(parameters.values())),
      exp_avg_sq_(torch::zeros_like(parameters.values())),
      updates_(torch::zeros({}, parameters.values().options())) {}

StepNorms AdamW::Step(double learning_rate, bool measure_update) {
  torch::NoGradGuard no_grad;
  auto gradients = parameters_.gradients();
  StepNorms norms{.gradient = at::linalg_vector_norm(gradients), .update = {}};
  if (options_.clip_norm > 0) {
    const auto factor = (options_.clip_norm / (norms.gradient + 1e-6)).clamp_max(1.0);
    // On a GPU it would cost more to find out.
    const bool clips = !factor.is_cpu() || factor.item<float>() != 1;
    if (clips) gradients.mul_(factor);
  }
  updates_.add_(1);
  const auto& values = parameters_.values();
  if (!measure_update) {
    Update(0, values.numel(), learning_rate);
    return norms;
  }
  std::vector<torch::Tensor> parts;
  for (int64_t first = 0; first < values.numel(); first += kMeasuredAtATime) {
    const int64_t count = std::min(kMeasuredAtATime, values.numel() - first);
    auto before = values.narrow(0, first, count).clone();
    Update(first, count, learning_rate);
    parts.push_back(at::linalg_vector_norm(before.sub_(values.narrow(0, first, count))));
  }
  norms.update = at::linalg_vector_norm(torch::stack(parts));
  return norms;
}

void AdamW::Update(int64_t first, int64_t count, double learning_rate) {
  const auto part = [&](const torch::Tensor& t) { return t.narrow(0, first, count); };
  at::_fused_adamw_({part(parameters_.values())}, {part(parameters_.gradients())}, {part(exp_avg_)},
                    {part(exp_avg_sq_)}, {}, {updates_}, learning_rate, options_.beta1, options_.beta2,
                    options_.weight_decay, options_.eps, /*amsgrad=*/false, /*maximize=*/false);
}

}  // namespace trainer::optim
