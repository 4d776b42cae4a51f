#pragma once

#include <string>
#include <vector>

#include "trainer/scoring/verification.h"

namespace trainer::scoring {

// The p-quantile of a standard normal distribution, 0 < p < 1, to 1e-12.
double Probit(double p);

// The detection error tradeoff as a drawing (SVG): false acceptances across, false rejections up, both on
// probit axes (A. Martin et al., "The DET curve in assessment of detection task performance", 1997) from
// 0.05 % to 60 %; what lies beyond is drawn at the border. A dot marks the equal error rate.
std::string DetSvg(const std::vector<OperatingPoint>& points, const std::string& title);

}  // namespace trainer::scoring
