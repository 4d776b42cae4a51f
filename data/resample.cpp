#include "data/resample.h"

#include <soxr.h>

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"

namespace data {
namespace {

absl::Status SoxrError(const char* call, soxr_error_t error) {
  return absl::InternalError(absl::StrCat("libsoxr: ", call, " failed: ", soxr_strerror(error)));
}

}  // namespace

void Resampler::Delete::operator()(soxr* handle) const { soxr_delete(handle); }

absl::StatusOr<Resampler> Resampler::Create(double input_rate, double output_rate) {
  const double ratio = output_rate / input_rate;
  if (input_rate == output_rate) return Resampler(nullptr, ratio);
  soxr_error_t error = nullptr;
  const soxr_io_spec_t io = soxr_io_spec(SOXR_FLOAT32_I, SOXR_FLOAT32_I);
  const soxr_quality_spec_t quality = soxr_quality_spec(SOXR_HQ, 0);
  const soxr_runtime_spec_t runtime = soxr_runtime_spec(1);
  std::unique_ptr<soxr, Delete> handle(
      soxr_create(input_rate, output_rate, /*num_channels=*/1, &error, &io, &quality, &runtime));
  if (error != nullptr) return SoxrError("soxr_create", error);
  if (!handle) return absl::ResourceExhaustedError("libsoxr: soxr_create returned nothing; out of memory?");
  return Resampler(std::move(handle), ratio);
}

absl::Status Resampler::Process(std::span<const float> input, std::vector<float>& output) {
  if (!handle_) {
    output.insert(output.end(), input.begin(), input.end());
    return absl::OkStatus();
  }
  // soxr may hand out more than this block's share, of what it held back before: go on until it has taken all
  // of the input and leaves room in the output.
  const size_t room = static_cast<size_t>(std::ceil(static_cast<double>(input.size()) * ratio_)) + 64;
  while (true) {
    const size_t before = output.size();
    output.resize(before + room);
    size_t taken = 0;
    size_t made = 0;
    const soxr_error_t error =
        soxr_process(handle_.get(), input.data(), input.size(), &taken, output.data() + before, room, &made);
    output.resize(before + made);
    if (error != nullptr) return SoxrError("soxr_process", error);
    input = input.subspan(taken);
    if (input.empty() && made < room) return absl::OkStatus();
    if (taken == 0 && made == 0) return absl::InternalError("libsoxr: soxr_process makes no progress");
  }
}

absl::Status Resampler::Finish(std::vector<float>& output) {
  if (!handle_) return absl::OkStatus();
  constexpr size_t kRoom = 4096;
  while (true) {
    const size_t before = output.size();
    output.resize(before + kRoom);
    size_t made = 0;
    const soxr_error_t error =
        soxr_process(handle_.get(), nullptr, 0, nullptr, output.data() + before, kRoom, &made);
    output.resize(before + made);
    if (error != nullptr) return SoxrError("soxr_process (flush)", error);
    if (made == 0) return absl::OkStatus();
  }
}

}  // namespace data
