// The mel scale of HTK (Young et al., "The HTK Book").
#pragma once

#include <cmath>

namespace data {

inline double HzToMel(double hz) { return 2595.0 * std::log10(1.0 + hz / 700.0); }
inline double MelToHz(double mel) { return 700.0 * (std::pow(10.0, mel / 2595.0) - 1.0); }

}  // namespace data
