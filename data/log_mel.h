// Log-mel features of speech: the front end of the HW4 data set.
//
// Power spectrogram (FFT of 400 samples = 25 ms, hop 160 samples = 10 ms, periodic Hann window, centred, the
// signal reflected at both ends), triangular filters on the HTK mel scale from 50 to 8000 Hz without area
// normalisation, natural logarithm of max(mel, 1e-9). The reference is torchaudio's MelSpectrogram: the same
// operations in the same precision, so that features made here and features made in Python can meet in one
// model.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace data {

inline constexpr int kMelSampleRate = 16000;  // Hz
inline constexpr int kMelFftSize = 400;       // samples
inline constexpr int kMelHop = 160;           // samples
inline constexpr double kMelLowHz = 50.0;
inline constexpr double kMelHighHz = 8000.0;
inline constexpr float kMelFloor = 1e-9F;
// Reflection needs one sample more than the padding: half a window.
inline constexpr int64_t kMelMinSamples = kMelFftSize / 2 + 1;

// Frames that a signal gives: one at each multiple of the hop, sample 0 included.
inline constexpr int64_t MelFrames(int64_t samples) { return 1 + samples / kMelHop; }

// Computes log-mels. Immutable after Create: one object may serve many threads at once. LibTorch runs the
// FFT; a caller with threads of its own wants at::set_num_threads(1) in each of them.
class LogMel {
 public:
  // kInvalidArgument where n_mels < 1, or so large that a filter falls between two FFT bins and would always
  // be empty.
  static absl::StatusOr<LogMel> Create(int n_mels);

  LogMel(LogMel&&) noexcept;
  LogMel& operator=(LogMel&&) noexcept;
  ~LogMel();

  int n_mels() const;

  // samples: mono, 16 kHz, in [-1, 1]. frames is resized to (MelFrames(samples), n_mels), row by row.
  // kInvalidArgument where there are fewer than kMelMinSamples.
  absl::Status Compute(std::span<const float> samples, std::vector<float>& frames) const;

 private:
  struct Tables;
  explicit LogMel(std::unique_ptr<const Tables> tables);
  std::unique_ptr<const Tables> tables_;
};

}  // namespace data
