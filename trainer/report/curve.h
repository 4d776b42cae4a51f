// Curves with so few points that a page draws them at once, however long the run was.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace trainer::report {

struct Curve {
  std::vector<int64_t> steps;  // ascending
  std::vector<double> values;  // finite
  // Where points were left out, the means of stretches of the whole curve: what smoothing may work on, for
  // the extremes that are kept would pull it to one side. Empty otherwise.
  std::vector<double> mean_steps, mean_values;

  bool thinned() const { return !mean_steps.empty(); }
};

// The finite ones of `values` (as many as `steps`) as at most some `most` points: all of them where that is
// enough, otherwise the lowest and the highest of each of most / 2 stretches as well as the first and the
// last. So no spike is lost.
Curve ThinCurve(const std::vector<int64_t>& steps, const std::vector<double>& values, size_t most);

}  // namespace trainer::report
