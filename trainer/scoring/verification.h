// Error rates of a verification system: is this the same speaker, or not?
//
// A trial is accepted at threshold t where its score is at least t. False rejections are target trials below
// t, false acceptances non-target trials at or above it; a rate is their share of the trials of that kind.
#pragma once

#include <limits>
#include <span>
#include <vector>

namespace trainer::scoring {

struct TrialScore {
  double score = 0;     // finite
  bool target = false;  // the same speaker
};

struct OperatingPoint {
  double threshold = -std::numeric_limits<double>::infinity();
  double false_acceptance = 1;
  double false_rejection = 0;
};

// One point for each distinct score as threshold, ascending, and last the one where nothing is accepted, its
// threshold infinite. So false_acceptance falls from 1 to 0 and false_rejection rises from 0 to 1. At least
// one trial of either kind, else std::invalid_argument.
std::vector<OperatingPoint> OperatingPoints(std::vector<TrialScore> trials);

struct EqualError {
  double rate = 0;
  double threshold = 0;
};

// Where the two error rates are equal, on the straight line between the last operating point with fewer false
// rejections than acceptances and the next one: no convex hull. The threshold is interpolated likewise (the
// largest score, where the next one is infinite).
EqualError EqualErrorRate(const std::vector<OperatingPoint>& points);

// The smallest detection cost over all thresholds, as NIST normalises it: (p * false_rejection + (1 - p) *
// false_acceptance) / min(p, 1 - p), p the prior probability of a target, either error costing 1. At most 1.
double MinDetectionCost(const std::vector<OperatingPoint>& points, double target_probability);

// Cosine of two vectors of one length, in double precision; 0 where one of them is 0.
double Cosine(std::span<const float> a, std::span<const float> b);

}  // namespace trainer::scoring
