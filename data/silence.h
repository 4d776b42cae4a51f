// Level and pauses of a recording: what the HW4 recipe does with sox before the features.
#pragma once

#include <span>
#include <vector>

#include "absl/status/status.h"

namespace data {

// Scales the samples so that the largest magnitude is `peak_db` decibels below full scale (-3 gives 0.708).
// kInvalidArgument for digital silence, which has no level.
absl::Status NormalizePeak(std::span<float> samples, double peak_db);

// Removes silence as `sox ... silence 1 0.1 1% -1 0.1 1%` does: at the start, at the end AND every pause
// inside.
//
// A sample is silent where the root mean square of the 20 ms that end with it is at most 1 % of full scale.
// Nothing is kept until 0.1 s in a row are not silent (shorter bursts go too). From there on everything is
// kept up to the first 0.1 s in a row that are silent: those are removed whole, and the search for speech
// begins anew. Shorter pauses stay. (sox rounds the level to the recording's bit depth before it compares, so
// its cuts may lie some samples off.) Returns what is left, possibly nothing. `rate` in Hz.
std::vector<float> TrimSilence(std::span<const float> samples, int rate);

}  // namespace data
