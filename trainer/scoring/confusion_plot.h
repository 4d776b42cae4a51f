#pragma once

#include <string>

#include "trainer/scoring/confusion.h"

namespace trainer::scoring {

// The matrix as a drawing (SVG): a row a speaker who has utterances, a column every speaker; the darker a
// cell, the larger its share of the row. Right answers are blue, wrong ones red. Names stand at the axes
// where there is room for them.
std::string ConfusionSvg(const ConfusionMatrix& matrix, const std::string& title);

}  // namespace trainer::scoring
