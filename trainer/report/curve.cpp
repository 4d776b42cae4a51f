#include "trainer/report/curve.h"

#include <algorithm>
#include <cmath>

namespace trainer::report {

Curve ThinCurve(const std::vector<int64_t>& steps, const std::vector<double>& values, size_t most) {
  Curve all;
  for (size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i])) continue;
    all.steps.push_back(steps[i]);
    all.values.push_back(values[i]);
  }
  const size_t count = all.values.size();
  if (count <= std::max<size_t>(most, 2)) return all;

  Curve thin;
  const auto keep = [&](size_t i) {
    if (!thin.steps.empty() && thin.steps.back() >= all.steps[i]) return;
    thin.steps.push_back(all.steps[i]);
    thin.values.push_back(all.values[i]);
  };
  const size_t stretches = std::max<size_t>(most / 2, 1);
  keep(0);
  for (size_t s = 0; s < stretches; ++s) {
    const size_t begin = s * count / stretches, end = (s + 1) * count / stretches;
    const auto first = all.values.begin() + static_cast<std::ptrdiff_t>(begin);
    const auto last = all.values.begin() + static_cast<std::ptrdiff_t>(end);
    const auto [low, high] = std::minmax_element(first, last);
    const auto a = static_cast<size_t>(low - all.values.begin());
    const auto b = static_cast<size_t>(high - all.values.begin());
    keep(std::min(a, b));
    keep(std::max(a, b));
    double step_sum = 0, value_sum = 0;
    for (size_t i = begin; i < end; ++i) {
      step_sum += static_cast<double>(all.steps[i]);
      value_sum += all.values[i];
    }
    thin.mean_steps.push_back(step_sum / static_cast<double>(end - begin));
    thin.mean_values.push_back(value_sum / static_cast<double>(end - begin));
  }
  keep(count - 1);
  return thin;
}

}  // namespace trainer::report
