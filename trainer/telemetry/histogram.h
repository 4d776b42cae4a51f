// How numbers are distributed: what TensorBoard shows of weights and gradients.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace trainer::telemetry {

struct Histogram {
  double min = 0, max = 0;  // 0 where there are no numbers
  double count = 0;
  double sum = 0, sum_of_squares = 0;
  std::vector<double> limits;  // upper end of each bucket, ascending; the last is `max`
  std::vector<double> counts;  // as many
};

// `buckets` of equal width from the smallest to the largest of the values, which is where TensorBoard has its
// own, 30 of them, in the end. Values that are not finite are left out. Two passes over the values.
Histogram HistogramOf(std::span<const float> values, int64_t buckets = 60);

}  // namespace trainer::telemetry
