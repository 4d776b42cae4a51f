#include "data/mel_noise.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>

#include "data/mel_scale.h"

namespace data {
namespace {

// Of the powers of two bins `distance` apart, under Hann's window.
double BinCorrelation(size_t distance) {
  constexpr std::array<double, 3> kCorrelation = {1.0, 4.0 / 9.0, 1.0 / 36.0};
  return distance < kCorrelation.size() ? kCorrelation[distance] : 0.0;
}

// The triangle from `low` over `centre` to `high` (Hz), bins `width` Hz apart.
NoiseBand MakeBand(double low, double centre, double high, double width, int64_t last_bin) {
  const auto first = static_cast<int64_t>(std::ceil(low / width));
  const auto last = std::min(static_cast<int64_t>(std::floor(high / width)), last_bin);
  std::vector<double> weights;
  weights.reserve(static_cast<size_t>(std::max<int64_t>(0, last - first + 1)));
  for (int64_t bin = first; bin <= last; ++bin) {
    const double hz = static_cast<double>(bin) * width;
    weights.push_back(std::max(0.0, std::min((hz - low) / (centre - low), (high - hz) / (high - centre))));
  }
  double area = 0, variance = 0;
  for (size_t j = 0; j < weights.size(); ++j) {
    area += weights[j];
    const size_t end = std::min(j + 3, weights.size());
    for (size_t k = j; k < end; ++k) {
      variance += (k == j ? 1.0 : 2.0) * weights[j] * weights[k] * BinCorrelation(k - j);
    }
  }
  NoiseBand band;
  band.log2_centre_kHz = static_cast<float>(std::log2(centre / 1000.0));
  band.area = static_cast<float>(area > 0 ? area : (high - low) / 2 / width);
  band.shape = static_cast<float>(area > 0 ? area * area / variance : 1.0);
  return band;
}

// Mean 0, variance 1, |x| < 3.5: a sum of four bytes has mean 510 and variance 4 * (256^2 - 1) / 12.
float GaussianOfBytes(uint32_t word) {
  const uint32_t pairs = (word & 0x00FF00FFu) + (word >> 8 & 0x00FF00FFu);
  const auto sum = static_cast<int32_t>((pairs & 0xFFFFu) + (pairs >> 16));
  return static_cast<float>(sum - 510) * 6.765875e-3f;
}

}  // namespace

std::vector<NoiseBand> NoiseBands(const FrontEnd& front_end) {
  const double low = HzToMel(front_end.f_min), high = HzToMel(front_end.f_max);
  const double step = (high - low) / (front_end.n_mels + 1);
  const double width = static_cast<double>(front_end.sample_rate) / front_end.n_fft;
  std::vector<NoiseBand> bands;
  bands.reserve(static_cast<size_t>(std::max(0, front_end.n_mels)));
  for (int m = 0; m < front_end.n_mels; ++m) {
    bands.push_back(MakeBand(MelToHz(low + m * step), MelToHz(low + (m + 1) * step),
                             MelToHz(low + (m + 2) * step), width, front_end.n_fft / 2));
  }
  return bands;
}

void DrawNoise(std::span<const NoiseBand> bands, float tilt_db, RandomStream* random,
               std::span<float> power) {
  const size_t n_mels = bands.size(), frames = power.size() / n_mels;
  // A value is (offset + spread * gaussian)^3, never below 0.
  std::vector<float> offset(n_mels), spread(n_mels);
  for (size_t m = 0; m < n_mels; ++m) {
    const float level = bands[m].area * std::pow(10.0f, tilt_db * bands[m].log2_centre_kHz / 10.0f);
    const float root = std::cbrt(level);
    offset[m] = root * (1.0f - 1.0f / (9.0f * bands[m].shape));
    spread[m] = root / (3.0f * std::sqrt(bands[m].shape));
  }
  std::vector<uint32_t> words((n_mels + 3) / 4 * 4);
  for (size_t t = 0; t < frames; ++t) {
    for (size_t i = 0; i < words.size(); i += 4) {
      const std::array<uint32_t, 4> block = random->NextBlock();
      std::copy(block.begin(), block.end(), words.begin() + static_cast<ptrdiff_t>(i));
    }
    float* row = power.data() + t * n_mels;
    for (size_t m = 0; m < n_mels; ++m) {
      const float root = offset[m] + spread[m] * GaussianOfBytes(words[m]);
      const float positive = root > 0.0f ? root : 0.0f;
      row[m] = positive * positive * positive;
    }
  }
}

}  // namespace data
