#include "trainer/telemetry/histogram.h"

#include <algorithm>
#include <cmath>

namespace trainer::telemetry {

Histogram HistogramOf(std::span<const float> values, int64_t buckets) {
  Histogram histogram;
  float min = INFINITY, max = -INFINITY;
  int64_t finite = 0;
  for (const float value : values) {
    if (!std::isfinite(value)) continue;
    ++finite;
    min = std::min(min, value);
    max = std::max(max, value);
    const double wide = value;
    histogram.sum += wide;
    histogram.sum_of_squares += wide * wide;
  }
  if (finite == 0) return histogram;
  histogram.min = min;
  histogram.max = max;
  histogram.count = static_cast<double>(finite);

  const double width = (histogram.max - histogram.min) / static_cast<double>(buckets);
  if (width == 0) {  // all alike, or too close for buckets between them
    histogram.limits = {histogram.max};
    histogram.counts = {histogram.count};
    return histogram;
  }
  std::vector<int64_t> counts(static_cast<size_t>(buckets));
  for (const float value : values) {
    if (!std::isfinite(value)) continue;
    const auto bucket = static_cast<int64_t>((static_cast<double>(value) - histogram.min) / width);
    ++counts[static_cast<size_t>(std::min(bucket, buckets - 1))];
  }
  for (int64_t i = 1; i <= buckets; ++i) {
    histogram.limits.push_back(i == buckets ? histogram.max : histogram.min + static_cast<double>(i) * width);
  }
  histogram.counts.assign(counts.begin(), counts.end());
  return histogram;
}

}  // namespace trainer::telemetry
