// Noise as a front end's mel filters see it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "data/front_end.h"
#include "data/random.h"

namespace data {

// What a mel band does to stationary noise. A band is a weighted sum of FFT bins: k of them with weights w.
// In white noise each bin's power has the same mean and an exponential distribution, and Hann's window
// correlates the powers of bins 1 and 2 apart by 4/9 and 1/36. Hence the band's power has mean `sum w` and,
// by its first two moments, the shape (sum w)^2 / sum_jk w_j w_k r_jk of a gamma distribution.
struct NoiseBand {
  float area = 1;             // sum of the filter's weights: what white noise of one a bin gives
  float shape = 1;            // of the gamma distribution of its power: half its degrees of freedom
  float log2_centre_kHz = 0;  // log2 of the centre frequency over 1 kHz
};

// One a mel. HTK mel scale, triangles that meet at the neighbours' peaks, as in data/log_mel.h. A filter so
// narrow that no bin falls into it gets its area by the formula, and the shape of a single bin.
std::vector<NoiseBand> NoiseBands(const FrontEnd& front_end);

// Fills `power` (T, bands) with noise whose power density rises by `tilt_db` per octave (0: white, -3: pink,
// -6: brown), at no particular level. Every value is drawn by itself; in real noise frames 10 ms apart, whose
// 25 ms windows overlap, correlate by 0.11, which is left out. The gamma distribution is drawn as the cube of
// a Gaussian (Wilson and Hilferty, "The distribution of chi-square", 1931), the Gaussian as the sum of four
// bytes.
void DrawNoise(std::span<const NoiseBand> bands, float tilt_db, RandomStream* random, std::span<float> power);

}  // namespace data
