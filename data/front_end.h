#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "absl/status/statusor.h"

namespace data {

// How audio became log-mels: natural log of max(power mel, floor), Hann window, centred frames, HTK mel
// scale. It travels with the features (dataset.json) and with the models trained on them, so that both can be
// compared.
struct FrontEnd {
  std::string source = "extract";      // extract | hw4 | synth: who made the features
  int sample_rate = 16000;             // Hz
  int n_fft = 400;                     // samples a window
  int hop = 160;                       // samples from one frame to the next
  int n_mels = 40;                     // values a frame
  double f_min = 50;                   // Hz
  double f_max = 8000;                 // Hz
  double floor = 1e-9;                 // smallest power before the log
  bool trim_silence = false;           // silence was cut, at the ends and inside
  std::optional<double> normalize_db;  // peak level the audio was brought to; none: left as it was

  double frames_per_second() const { return static_cast<double>(sample_rate) / hop; }
  bool operator==(const FrontEnd&) const = default;
};

nlohmann::json FrontEndToJson(const FrontEnd& front_end);
// kInvalidArgument names the key that is missing, of the wrong type or impossible.
absl::StatusOr<FrontEnd> FrontEndFromJson(const nlohmann::json& json);

}  // namespace data
