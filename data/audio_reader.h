// Recordings in: flac, wav, ogg and mp3, any rate, any number of channels -> mono samples at one rate.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace data {

struct Audio {
  std::vector<float> samples;  // mono: the mean of the channels
  double seconds = 0;          // of the recording at its speed, before anything is cut away
};

// The longest recording that ReadAudio takes. An utterance is seconds long; whatever is longer than this is a
// mistake, or a damaged header, and must not fill the memory.
inline constexpr double kMaxRecordingSeconds = 3600;

// Decodes a whole file and resamples it to `rate` Hz. `speed`: as if played so many times as fast, which
// moves the pitch too, like SoX's effect of that name: frequencies are multiplied by it, the duration is
// divided. Samples of integer formats are scaled to [-1, 1); those of lossy and floating-point formats may
// overshoot, and are taken as they are up to a magnitude of 8.
//
// Memory grows with what is really decoded, never with what a header claims. Any thread may call it at any
// time. Messages do not repeat the path; they read on after it ("a.wav: ends after ..."). Errors:
//   kNotFound            no such file
//   kInvalidArgument     not a supported format; no samples; a rate outside 4 to 384 kHz; longer than
//                        kMaxRecordingSeconds; a sample beyond a magnitude of 8
//   kDataLoss            damaged: cannot be decoded, ends early, or holds NaN or infinity
absl::StatusOr<Audio> ReadAudio(const std::string& path, int rate, double speed = 1);

// Whether the file's name ends like that of a format we read (case ignored): .flac .wav .ogg .mp3
bool HasAudioExtension(const std::string& path);

}  // namespace data
