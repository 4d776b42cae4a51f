#include "trainer/optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace trainer::optim {

double Schedule::LearningRate(int64_t step) const {
  if (step < warmup_steps) {
    return lr * (static_cast<double>(step) / static_cast<double>(std::max<int64_t>(1, warmup_steps)));
  }
  const double progress = static_cast<double>(step - warmup_steps) /
                          static_cast<double>(std::max<int64_t>(1, total_steps - warmup_steps));
  return lr * std::max(0.0, 0.5 * (1.0 + std::cos(std::numbers::pi * cycles * 2.0 * progress)));
}

}  // namespace trainer::optim
