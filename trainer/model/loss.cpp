#include "trainer/model/loss.h"

#include <algorithm>
#include <cmath>

namespace trainer::model {
namespace {

// At 1 the sine's slope is infinite.
constexpr double kLargestCosine = 1 - 1e-6;

torch::Tensor WithAngularMargin(const torch::Tensor& cosine, double margin) {
  const auto sine = (1 - cosine.clamp(-kLargestCosine, kLargestCosine).square()).sqrt();
  const auto moved = cosine * std::cos(margin) - sine * std::sin(margin);
  return torch::where(cosine > -std::cos(margin), moved, cosine - margin * std::sin(margin));
}

}  // namespace

double Loss::MarginAt(int64_t step) const {
  if (options_.type == "cross_entropy") return 0;
  if (step >= options_.margin_warmup_steps) return options_.margin;
  return options_.margin * static_cast<double>(step) / static_cast<double>(options_.margin_warmup_steps);
}

torch::Tensor Loss::Sum(const torch::Tensor& logits, const torch::Tensor& speakers, double margin) const {
  auto worsened = logits;
  if (margin > 0) {
    const auto target = speakers.unsqueeze(1);
    const auto right = logits.gather(1, target);
    const auto changed = options_.type == "am_softmax"
                             ? right - options_.scale * margin
                             : options_.scale * WithAngularMargin(right / options_.scale, margin);
    worsened = logits.scatter(1, target, changed);
  }
  return torch::nn::functional::cross_entropy(worsened, speakers,
                                              torch::nn::functional::CrossEntropyFuncOptions()
                                                  .reduction(torch::kSum)
                                                  .label_smoothing(options_.label_smoothing));
}

}  // namespace trainer::model
