#include "trainer/scoring/verification.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <stdexcept>

#include "trainer/scoring/det_plot.h"

namespace trainer::scoring {
namespace {

std::vector<TrialScore> Trials(const std::vector<double>& targets, const std::vector<double>& others) {
  std::vector<TrialScore> trials;
  for (const double score : targets) trials.push_back({score, true});
  for (const double score : others) trials.push_back({score, false});
  return trials;
}

TEST(Verification, PointsByHand) {
  const auto points = OperatingPoints(Trials({0.9, 0.5}, {0.5, 0.1, 0.2, 0.3}));
  ASSERT_EQ(points.size(), 6u);  // five distinct scores, and nothing accepted
  EXPECT_EQ(points[0].threshold, 0.1);
  EXPECT_EQ(points[0].false_acceptance, 1);
  EXPECT_EQ(points[0].false_rejection, 0);
  EXPECT_EQ(points[3].threshold, 0.5);
  EXPECT_EQ(points[3].false_acceptance, 0.25);  // a score at the threshold is accepted
  EXPECT_EQ(points[3].false_rejection, 0);
  EXPECT_EQ(points[4].threshold, 0.9);
  EXPECT_EQ(points[4].false_acceptance, 0);
  EXPECT_EQ(points[4].false_rejection, 0.5);
  EXPECT_TRUE(std::isinf(points[5].threshold));
  EXPECT_EQ(points[5].false_rejection, 1);
}

TEST(Verification, EqualErrorLiesOnTheLineBetweenTwoPoints) {
  // From (acceptance 1/4, rejection 0) at 0.5 to (0, 1/2) at 0.9: equal at a third of the way.
  const auto equal = EqualErrorRate(OperatingPoints(Trials({0.9, 0.5}, {0.5, 0.1, 0.2, 0.3})));
  EXPECT_NEAR(equal.rate, 1.0 / 6, 1e-15);
  EXPECT_NEAR(equal.threshold, 0.5 + 0.4 / 3, 1e-15);
}

TEST(Verification, ExtremesAreExact) {
  const auto perfect = OperatingPoints(Trials({0.8, 0.9}, {0.1, 0.2}));
  EXPECT_EQ(EqualErrorRate(perfect).rate, 0);
  EXPECT_EQ(MinDetectionCost(perfect, 0.01), 0);
  const auto reversed = OperatingPoints(Trials({0.1, 0.2}, {0.8, 0.9}));
  EXPECT_EQ(EqualErrorRate(reversed).rate, 1);
  EXPECT_EQ(MinDetectionCost(reversed, 0.01), 1);
  const auto constant = OperatingPoints(Trials({0.5, 0.5}, {0.5}));
  EXPECT_EQ(EqualErrorRate(constant).rate, 0.5);
  EXPECT_EQ(EqualErrorRate(constant).threshold, 0.5);  // the next threshold is infinite
  EXPECT_EQ(MinDetectionCost(constant, 0.05), 1);
  EXPECT_THROW(OperatingPoints(Trials({0.5}, {})), std::invalid_argument);
  EXPECT_THROW(OperatingPoints(Trials({}, {0.5})), std::invalid_argument);
}

TEST(Verification, CostByHand) {
  // Thresholds 0.5 and 0.9 compete: (1 - p) * 1/4 against p * 1/2.
  const auto points = OperatingPoints(Trials({0.9, 0.5}, {0.5, 0.1, 0.2, 0.3}));
  EXPECT_NEAR(MinDetectionCost(points, 0.05), 0.5, 1e-15);
  EXPECT_NEAR(MinDetectionCost(points, 0.5), 0.25, 1e-15);
  EXPECT_NEAR(MinDetectionCost(points, 0.9), 0.1 * 0.25 / 0.1, 1e-15);
}

TEST(Verification, GaussianScoresMeetTheory) {
  // Scores of mean 1 and -1, deviation 1: both errors are Phi(-1) at threshold 0.
  std::mt19937_64 engine(1);
  std::normal_distribution<double> normal;
  std::vector<double> targets, others;
  for (int i = 0; i < 200000; ++i) {
    targets.push_back(1 + normal(engine));
    others.push_back(-1 + normal(engine));
  }
  const auto points = OperatingPoints(Trials(targets, others));
  const auto equal = EqualErrorRate(points);
  EXPECT_NEAR(equal.rate, 0.158655, 0.003);
  EXPECT_NEAR(equal.threshold, 0, 0.02);
  // On probit axes their DET curve is the line probit(rejection) = -2 - probit(acceptance).
  for (const auto& point : points) {
    if (point.false_acceptance < 0.01 || point.false_rejection < 0.01) continue;
    if (point.false_acceptance > 0.99 || point.false_rejection > 0.99) continue;
    ASSERT_NEAR(Probit(point.false_rejection) + Probit(point.false_acceptance), -2, 0.06);
  }
}

TEST(Verification, CosineByHand) {
  const std::vector<float> a = {3, 4}, b = {4, -3}, c = {-6, -8}, zero = {0, 0};
  EXPECT_DOUBLE_EQ(Cosine(a, a), 1);
  EXPECT_DOUBLE_EQ(Cosine(a, b), 0);
  EXPECT_DOUBLE_EQ(Cosine(a, c), -1);
  EXPECT_EQ(Cosine(a, zero), 0);
}

TEST(DetPlot, ProbitIsTheNormalQuantile) {
  EXPECT_NEAR(Probit(0.5), 0, 1e-12);
  EXPECT_NEAR(Probit(0.975), 1.959963984540054, 1e-12);
  EXPECT_NEAR(Probit(0.0005), -3.2905267314919255, 1e-12);
}

// The curve's points, "x,y x,y ".
std::string Curve(const std::string& svg) {
  const std::string mark = "points=\"";
  const size_t begin = svg.find(mark) + mark.size();
  return svg.substr(begin, svg.find('"', begin) - begin);
}

TEST(DetPlot, CutsTheCurveAtItsFrame) {
  // Without an error nothing of the curve lies between 0.05 and 60 %.
  EXPECT_EQ(Curve(DetSvg(OperatingPoints(Trials({0.9, 0.8}, {0.2, 0.1})), "")), "");
  // No point within, but a line across.
  EXPECT_NE(Curve(DetSvg(OperatingPoints(Trials({0.9}, {0.95, 0.1})), "")), "");
}

TEST(DetPlot, EscapesItsTitle) {
  const auto points = OperatingPoints(Trials({0.9, 0.5}, {0.5, 0.1}));
  const auto svg = DetSvg(points, "a<b>&\"\x01");
  EXPECT_NE(svg.find("a&lt;b&gt;&amp;&quot;?"), std::string::npos);
  EXPECT_NE(svg.find("EER 25.00 %"), std::string::npos);
}

}  // namespace
}  // namespace trainer::scoring
