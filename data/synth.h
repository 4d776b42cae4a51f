#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace data {

// Made-up speech-like log-mels, for tests and benchmarks at any scale. Every utterance is a function of
// (options, number) alone.
//
// All speakers say strings of the same phone-like segments. What tells them apart is what tells people apart:
// formants scaled and shifted by a vocal tract, the tilt of the spectrum, the pitch's harmonics and melody,
// tempo and loudness movements. Each utterance has a channel and noise of its own, whose offset in every mel
// is of the size of the speakers' differences, so averages over time do not give the speaker away.
struct SynthOptions {
  int64_t speakers = 600;
  uint64_t seed = 1;
  int n_mels = 40;
  int64_t max_frames = 0;  // longer utterances are cut; 0: none is
};

// Frames of utterance number `utterance`, by HW4's law of lengths: from 91 to 7193, median 540, mean about
// 657.
int64_t SynthFrames(const SynthOptions& options, int64_t utterance);

// The speakers take turns.
int32_t SynthSpeaker(const SynthOptions& options, int64_t utterance);

// (T, n_mels) with T = SynthFrames(options, utterance). Thread-safe.
std::vector<float> Synthesize(const SynthOptions& options, int64_t utterance);

std::string SynthSpeakerName(int64_t speaker);
std::string SynthUtteranceName(int64_t utterance);

}  // namespace data
