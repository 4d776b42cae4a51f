// Sample-rate conversion of one mono stream, block by block, on libsoxr.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

struct soxr;

namespace data {

// Converts from one rate to another at soxr's "high quality" (20 bits, pass band to 0.91 of the lower Nyquist
// rate, linear phase, delay removed). Where the rates are equal, samples pass unchanged. One object per
// stream and thread.
class Resampler {
 public:
  // Rates in Hz. kResourceExhausted where soxr has no memory, kInternal for its other failures.
  static absl::StatusOr<Resampler> Create(double input_rate, double output_rate);

  // Appends to output what can be computed so far. The samples need not outlive the call.
  absl::Status Process(std::span<const float> input, std::vector<float>& output);
  // Ends the stream: appends the rest. No Process after it.
  absl::Status Finish(std::vector<float>& output);

 private:
  struct Delete {
    void operator()(soxr* handle) const;
  };
  Resampler(std::unique_ptr<soxr, Delete> handle, double ratio) : handle_(std::move(handle)), ratio_(ratio) {}

  std::unique_ptr<soxr, Delete> handle_;  // null where the rates are equal
  double ratio_;                          // output samples an input sample
};

}  // namespace data
