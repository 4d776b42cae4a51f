#include "data/log_mel.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "data/mel_scale.h"

namespace data {
namespace {

constexpr int64_t kBins = kMelFftSize / 2 + 1;
// Frames transformed at once: large enough for the FFT library to batch, small enough that the windowed
// frames (800 KB) stay in a core's own cache.
constexpr int64_t kChunkFrames = 512;

// (kBins, n_mels). In single precision from the first step, as the reference does it: where a strong tone
// meets the foot of a triangle, the rounding of the foot decides the fourth digit of the result.
at::Tensor MelFilters(int n_mels) {
  const at::Tensor bins = at::linspace(0, kMelSampleRate / 2, kBins, at::kFloat);
  const at::Tensor mels = at::linspace(HzToMel(kMelLowHz), HzToMel(kMelHighHz), n_mels + 2, at::kFloat);
  const at::Tensor corners = 700.0 * (at::pow(10.0, mels / 2595.0) - 1.0);
  const at::Tensor widths = corners.slice(0, 1) - corners.slice(0, 0, -1);
  const at::Tensor slopes = corners.unsqueeze(0) - bins.unsqueeze(1);  // (kBins, n_mels + 2)
  const at::Tensor rising = -1.0 * slopes.slice(1, 0, -2) / widths.slice(0, 0, -1);
  const at::Tensor falling = slopes.slice(1, 2) / widths.slice(0, 1);
  return at::clamp_min(at::minimum(rising, falling), 0).contiguous();
}

// The signal with half a window reflected before and after it; the end samples themselves are not repeated.
std::vector<float> Reflect(std::span<const float> samples) {
  constexpr size_t kPad = kMelFftSize / 2;
  const size_t n = samples.size();
  std::vector<float> padded(n + 2 * kPad);
  for (size_t i = 0; i < kPad; ++i) {
    padded[kPad - 1 - i] = samples[i + 1];
    padded[kPad + n + i] = samples[n - 2 - i];
  }
  std::copy(samples.begin(), samples.end(), padded.begin() + kPad);
  return padded;
}

}  // namespace

struct LogMel::Tables {
  int n_mels;
  at::Tensor window;   // (kMelFftSize)
  at::Tensor filters;  // (kBins, n_mels)
};

LogMel::LogMel(std::unique_ptr<const Tables> tables) : tables_(std::move(tables)) {}
LogMel::LogMel(LogMel&&) noexcept = default;
LogMel& LogMel::operator=(LogMel&&) noexcept = default;
LogMel::~LogMel() = default;

int LogMel::n_mels() const { return tables_->n_mels; }

absl::StatusOr<LogMel> LogMel::Create(int n_mels) {
  // More filters than bins are never all filled, and a bound keeps the tables small.
  if (n_mels < 1 || n_mels > kBins) {
    return absl::InvalidArgumentError(absl::StrCat("n_mels is ", n_mels, "; use 1 to ", kBins));
  }
  const c10::InferenceMode guard;
  auto tables = std::make_unique<Tables>();
  tables->n_mels = n_mels;
  tables->window = at::hann_window(kMelFftSize, /*periodic=*/true, at::kFloat);
  tables->filters = MelFilters(n_mels);
  const at::Tensor peaks = tables->filters.amax(0);
  for (int m = 0; m < n_mels; ++m) {
    if (peaks[m].item<float>() <= 0) {
      return absl::InvalidArgumentError(absl::StrCat(
          "n_mels is ", n_mels, ": filter ", m, " is narrower than the ", kMelSampleRate / kMelFftSize,
          " Hz between two FFT bins and would always be empty; use fewer (40 and 80 work)"));
    }
  }
  return LogMel(std::move(tables));
}

absl::Status LogMel::Compute(std::span<const float> samples, std::vector<float>& frames) const {
  const auto n = static_cast<int64_t>(samples.size());
  if (n < kMelMinSamples) {
    return absl::InvalidArgumentError(absl::StrCat("has ", n, " samples at 16 kHz; one frame needs at least ",
                                                   kMelMinSamples, " (",
                                                   kMelMinSamples * 1000 / kMelSampleRate, " ms)"));
  }
  const c10::InferenceMode guard;
  const int64_t n_mels = tables_->n_mels;
  const int64_t n_frames = MelFrames(n);
  std::vector<float> padded = Reflect(samples);
  frames.resize(static_cast<size_t>(n_frames * n_mels));
  for (int64_t first = 0; first < n_frames; first += kChunkFrames) {
    const int64_t count = std::min(kChunkFrames, n_frames - first);
    const int64_t span = (count - 1) * kMelHop + kMelFftSize;
    const at::Tensor signal = at::from_blob(padded.data() + first * kMelHop, {span}, at::kFloat);
    const at::Tensor windowed = signal.unfold(0, kMelFftSize, kMelHop) * tables_->window;
    const at::Tensor spectrum = at::view_as_real(at::fft_rfft(windowed));  // (count, kBins, 2)
    const at::Tensor power = spectrum.square().sum(-1);
    at::Tensor out = at::from_blob(frames.data() + first * n_mels, {count, n_mels}, at::kFloat);
    at::mm_out(out, power, tables_->filters);
    out.clamp_min_(kMelFloor).log_();
  }
  return absl::OkStatus();
}

}  // namespace data
