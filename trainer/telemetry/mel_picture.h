// Log-mels of some utterances, one above the other, each with a caption below it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "trainer/telemetry/picture.h"

namespace trainer::telemetry {

struct MelStrip {
  std::vector<float> mels;  // (frames, n_mels)
  int64_t frames = 0;       // at least 1
  std::string caption;
  bool right = false;  // the caption is green; otherwise red
};

// One pixel a frame, and two of height a mel, the lowest at the bottom. Each strip's colours, black over
// violet and orange to pale yellow, reach from its 1st percentile to its highest value, and grow lighter at
// an even rate. Strips are `max_frames` wide at most; what is longer is cut off. At least one strip; all have
// as many mels.
Picture DrawMels(const std::vector<MelStrip>& strips, int64_t n_mels, int64_t max_frames = 640);

// The colour of `value` in 0 .. 1, which stands for the ends also beyond them.
Rgb MelColour(double value);

}  // namespace trainer::telemetry
