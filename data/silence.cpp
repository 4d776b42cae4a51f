#include "data/silence.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace data {
namespace {

constexpr double kThreshold = 0.01;       // of full scale
constexpr double kWindowSeconds = 0.02;   // over which the level is measured
constexpr double kDurationSeconds = 0.1;  // that speech, or silence, must last to count

// Root mean square of the last `size` samples; before that many were seen, the missing ones count as zeros.
class RunningLevel {
 public:
  explicit RunningLevel(size_t size) : squares_(size, 0.0) {}

  bool PushIsLoud(float sample) {
    const double square = static_cast<double>(sample) * sample;
    sum_ += square - squares_[next_];
    squares_[next_] = square;
    next_ = (next_ + 1) % squares_.size();
    return sum_ > kThreshold * kThreshold * static_cast<double>(squares_.size());
  }

  void Clear() {
    std::fill(squares_.begin(), squares_.end(), 0.0);
    sum_ = 0;
  }

 private:
  std::vector<double> squares_;
  size_t next_ = 0;
  double sum_ = 0;
};

}  // namespace

absl::Status NormalizePeak(std::span<float> samples, double peak_db) {
  float peak = 0;
  for (const float sample : samples) peak = std::max(peak, std::abs(sample));
  if (peak == 0) return absl::InvalidArgumentError("is digital silence: it has no level to normalise");
  const auto gain = static_cast<float>(std::pow(10.0, peak_db / 20.0) / peak);
  for (float& sample : samples) sample *= gain;
  return absl::OkStatus();
}

std::vector<float> TrimSilence(std::span<const float> samples, int rate) {
  const auto window = std::max<size_t>(1, static_cast<size_t>(rate * kWindowSeconds));
  const auto duration = std::max<size_t>(1, static_cast<size_t>(rate * kDurationSeconds));
  RunningLevel level(window);
  std::vector<float> kept;
  bool in_speech = false;
  size_t run = 0;  // samples in a row that speak for leaving the present state; not yet in `kept`
  for (size_t i = 0; i < samples.size(); ++i) {
    const bool loud = level.PushIsLoud(samples[i]);
    if (loud != in_speech) {
      if (++run < duration) continue;
      if (in_speech) {
        level.Clear();
      } else {
        kept.insert(kept.end(), samples.begin() + static_cast<ptrdiff_t>(i + 1 - run),
                    samples.begin() + static_cast<ptrdiff_t>(i + 1));
      }
      in_speech = !in_speech;
      run = 0;
    } else {
      if (in_speech) {
        kept.insert(kept.end(), samples.begin() + static_cast<ptrdiff_t>(i - run),
                    samples.begin() + static_cast<ptrdiff_t>(i + 1));
      }
      run = 0;
    }
  }
  // A pause that the end of the recording cut short is a short pause.
  if (in_speech) kept.insert(kept.end(), samples.end() - static_cast<ptrdiff_t>(run), samples.end());
  return kept;
}

}  // namespace data
