#include "trainer/scoring/verification.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace trainer::scoring {

std::vector<OperatingPoint> OperatingPoints(std::vector<TrialScore> trials) {
  std::sort(trials.begin(), trials.end(), [](const auto& a, const auto& b) { return a.score < b.score; });
  const auto targets = static_cast<double>(
      std::count_if(trials.begin(), trials.end(), [](const auto& trial) { return trial.target; }));
  const double others = static_cast<double>(trials.size()) - targets;
  if (targets == 0 || others == 0) throw std::invalid_argument("trials of both kinds are needed");
  std::vector<OperatingPoint> points;
  double rejected_targets = 0, rejected_others = 0;
  for (size_t i = 0; i < trials.size();) {
    const double threshold = trials[i].score;
    points.push_back({threshold, (others - rejected_others) / others, rejected_targets / targets});
    for (; i < trials.size() && trials[i].score == threshold; ++i) {
      (trials[i].target ? rejected_targets : rejected_others) += 1;
    }
  }
  points.push_back({std::numeric_limits<double>::infinity(), 0, 1});
  return points;
}

EqualError EqualErrorRate(const std::vector<OperatingPoint>& points) {
  const auto next = std::find_if(points.begin() + 1, points.end(), [](const auto& point) {
    return point.false_rejection >= point.false_acceptance;
  });
  const auto& after = *next;
  const auto& before = *(next - 1);
  const double above = before.false_acceptance - before.false_rejection;
  const double below = after.false_rejection - after.false_acceptance;
  const double part = above / (above + below);
  return {before.false_acceptance + part * (after.false_acceptance - before.false_acceptance),
          std::isinf(after.threshold) ? before.threshold
                                      : before.threshold + part * (after.threshold - before.threshold)};
}

double MinDetectionCost(const std::vector<OperatingPoint>& points, double target_probability) {
  double least = std::numeric_limits<double>::infinity();
  for (const auto& point : points) {
    least = std::min(least, target_probability * point.false_rejection +
                                (1 - target_probability) * point.false_acceptance);
  }
  return least / std::min(target_probability, 1 - target_probability);
}

double Cosine(std::span<const float> a, std::span<const float> b) {
  double product = 0, square_a = 0, square_b = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    product += static_cast<double>(a[i]) * b[i];
    square_a += static_cast<double>(a[i]) * a[i];
    square_b += static_cast<double>(b[i]) * b[i];
  }
  if (square_a == 0 || square_b == 0) return 0;
  return product / (std::sqrt(square_a) * std::sqrt(square_b));
}

}  // namespace trainer::scoring
