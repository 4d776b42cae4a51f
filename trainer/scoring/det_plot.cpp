#include "trainer/scoring/det_plot.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_format.h"
#include "trainer/scoring/svg.h"

namespace trainer::scoring {
namespace {

constexpr double kLow = 0.0005, kHigh = 0.6;
constexpr double kLeft = 80, kPlotTop = 50, kSide = 520;
constexpr double kTicks[] = {0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6};

// Pixels along an axis.
double Along(double rate) {
  const double low = Probit(kLow), high = Probit(kHigh);
  return kSide * (Probit(std::clamp(rate, kLow, kHigh)) - low) / (high - low);
}

std::pair<double, double> Place(double false_acceptance, double false_rejection) {
  return {kLeft + Along(false_acceptance), kPlotTop + kSide - Along(false_rejection)};
}

// Whether the line between two neighbouring points of the curve, which only ever falls, meets the frame.
bool MeetsFrame(const OperatingPoint& a, const OperatingPoint& b) {
  const auto meets = [](double one, double other) {
    return std::max(one, other) >= kLow && std::min(one, other) <= kHigh;
  };
  return meets(a.false_acceptance, b.false_acceptance) && meets(a.false_rejection, b.false_rejection);
}

}  // namespace

double Probit(double p) {
  // Bisection of the distribution function: no constants to mistype, and a plot has few points.
  double low = -40, high = 40;
  while (high - low > 1e-13) {
    const double middle = (low + high) / 2;
    if (middle <= low || middle >= high) break;
    (0.5 * std::erfc(-middle / std::sqrt(2.0)) < p ? low : high) = middle;
  }
  return (low + high) / 2;
}

std::string DetSvg(const std::vector<OperatingPoint>& points, const std::string& title) {
  Svg svg(640, 640);
  svg.Text(16, 24, title, Anchor::kStart, 14);
  for (const double tick : kTicks) {
    const double at = Along(tick);
    const auto label = absl::StrFormat("%g", tick * 100);
    svg.Line(kLeft + at, kPlotTop, kLeft + at, kPlotTop + kSide, "lightgray");
    svg.Line(kLeft, kPlotTop + kSide - at, kLeft + kSide, kPlotTop + kSide - at, "lightgray");
    svg.Text(kLeft + at, kPlotTop + kSide + 18, label, Anchor::kMiddle);
    svg.Text(kLeft - 8, kPlotTop + kSide - at + 4, label, Anchor::kEnd);
  }
  svg.Text(kLeft + kSide / 2, kPlotTop + kSide + 44, "false acceptances, %", Anchor::kMiddle);
  svg.Text(24, kPlotTop + kSide / 2, "false rejections, %", Anchor::kMiddle, 12, -90);
  svg.Line(kLeft, kPlotTop + kSide, kLeft + kSide, kPlotTop, "silver");
  std::vector<std::pair<double, double>> curve;
  double last_x = -1, last_y = -1;  // rates, so that probits are taken of few points only
  for (size_t i = 0; i < points.size(); ++i) {
    // Beyond the frame the curve is cut off: points there are brought to its border where a line leads in.
    if (!(i > 0 && MeetsFrame(points[i - 1], points[i])) &&
        !(i + 1 < points.size() && MeetsFrame(points[i], points[i + 1]))) {
      continue;
    }
    if (points[i].false_acceptance == last_x && points[i].false_rejection == last_y) continue;
    last_x = points[i].false_acceptance;
    last_y = points[i].false_rejection;
    const auto place = Place(last_x, last_y);
    const bool near = !curve.empty() &&
                      std::hypot(place.first - curve.back().first, place.second - curve.back().second) < 0.3;
    if (!near) curve.push_back(place);
  }
  svg.Path(curve, "steelblue");
  const auto equal = EqualErrorRate(points);
  const auto [x, y] = Place(equal.rate, equal.rate);
  const auto words = absl::StrFormat("EER %.2f %%", equal.rate * 100);
  svg.Dot(x, y, "firebrick", words);
  svg.Text(x + 8, y - 8, words, Anchor::kStart);
  return svg.Finish();
}

}  // namespace trainer::scoring
