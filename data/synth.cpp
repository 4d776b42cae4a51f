#include "data/synth.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>

#include "absl/strings/str_format.h"
#include "data/mel_scale.h"
#include "data/random.h"

namespace data {
namespace {

constexpr int kPhones = 36;
constexpr int kFormants = 4;
constexpr float kFloor = -20.723266f;  // log(1e-9)

// Keeps the streams of random numbers for different things apart.
enum StreamKind : uint64_t { kLength = 1, kPhone, kSpeakerTraits, kContent, kSpeakerPhone };

RandomStream Stream(const SynthOptions& options, StreamKind kind, uint64_t item) {
  return RandomStream(options.seed, Purpose::kSynthesis, kind, item);
}

// A phone as an average speaker says it. Frequencies in mel-scale units: 0 is the lowest band, 1 the highest.
struct Phone {
  std::array<float, kFormants> position;
  std::array<float, kFormants> height;  // natural log of power
  std::array<float, kFormants> width;
  float level;
  float voicing;  // 0 to 1
  float frames;   // mean duration
};

struct Speaker {
  float scale;                          // of all formants: the vocal tract's length
  std::array<float, kFormants> shift;   // of each formant
  std::array<float, kFormants> height;  // of each formant
  float tilt;                           // log power from the lowest band to the highest
  float pitch;                          // Hz
  float pitch_range;                    // of log pitch
  float melody_frames;                  // period of the pitch's movement
  float harmonic_depth;
  float tempo;
  float tremor_frames;  // period of the loudness's movement
  float tremor_depth;
};

Phone MakePhone(const SynthOptions& options, uint64_t phone) {
  RandomStream random = Stream(options, kPhone, phone);
  Phone p;
  p.voicing = random.Uniform() < 0.65f ? random.Uniform(0.7f, 1.0f) : random.Uniform(0.0f, 0.2f);
  for (int k = 0; k < kFormants; ++k) {
    const float low = 0.06f + 0.22f * static_cast<float>(k);
    p.position[static_cast<size_t>(k)] = low + random.Uniform(0.0f, 0.24f);
    p.height[static_cast<size_t>(k)] = random.Uniform(1.0f, 5.0f);
    p.width[static_cast<size_t>(k)] = random.Uniform(0.03f, 0.09f);
  }
  p.level = p.voicing > 0.5f ? random.Uniform(-5.0f, -2.5f) : random.Uniform(-8.0f, -5.0f);
  p.frames = random.Uniform(5.0f, 14.0f);
  return p;
}

Speaker MakeSpeaker(const SynthOptions& options, uint64_t speaker) {
  RandomStream random = Stream(options, kSpeakerTraits, speaker);
  Speaker s;
  s.scale = 1.0f + 0.08f * random.Gaussian();
  for (int k = 0; k < kFormants; ++k) {
    s.shift[static_cast<size_t>(k)] = 0.015f * random.Gaussian();
    s.height[static_cast<size_t>(k)] = 0.7f * random.Gaussian();
  }
  s.tilt = 0.8f * random.Gaussian();
  s.pitch = 150.0f * std::exp(0.3f * std::clamp(random.Gaussian(), -2.2f, 2.2f));
  s.pitch_range = random.Uniform(0.03f, 0.2f);
  s.melody_frames = random.Uniform(40.0f, 160.0f);
  s.harmonic_depth = random.Uniform(0.6f, 1.6f);
  s.tempo = random.Uniform(0.75f, 1.3f);
  s.tremor_frames = random.Uniform(12.0f, 60.0f);
  s.tremor_depth = random.Uniform(0.1f, 0.7f);
  return s;
}

// The bands' centres and, for the harmonics, their spacing, in Hz, on the HTK mel scale from 50 to 8000 Hz.
struct Bands {
  std::vector<float> hz;
  std::vector<float> spacing_hz;
};

Bands MakeBands(int n_mels) {
  const double low = HzToMel(50), step = (HzToMel(8000) - low) / (n_mels + 1);
  Bands bands;
  for (int m = 0; m < n_mels; ++m) {
    bands.hz.push_back(static_cast<float>(MelToHz(low + (m + 1) * step)));
    bands.spacing_hz.push_back(
        static_cast<float>(MelToHz(low + (m + 1.5) * step) - MelToHz(low + (m + 0.5) * step)));
  }
  return bands;
}

// A speaker's way to say a phone, as log power a band.
void MakeEnvelope(const SynthOptions& options, const Speaker& s, int64_t speaker, const Phone& p,
                  uint64_t phone, std::vector<float>* out) {
  RandomStream random = Stream(options, kSpeakerPhone, static_cast<uint64_t>(speaker) * kPhones + phone);
  const float unit = 1.0f / static_cast<float>(options.n_mels);
  for (int m = 0; m < options.n_mels; ++m) {
    (*out)[static_cast<size_t>(m)] = p.level + (s.tilt - 2.0f) * (static_cast<float>(m) * unit - 0.5f);
  }
  for (size_t k = 0; k < kFormants; ++k) {
    const float position = p.position[k] * s.scale + s.shift[k] + 0.02f * random.Gaussian();
    const float height = p.height[k] + s.height[k];
    const float inverse = 1.0f / p.width[k];
    const int from = std::max(0, static_cast<int>((position - 3.0f * p.width[k]) / unit));
    const int to = std::min(options.n_mels, static_cast<int>((position + 3.0f * p.width[k]) / unit) + 1);
    for (int m = from; m < to; ++m) {
      const float z = (static_cast<float>(m) * unit - position) * inverse;
      (*out)[static_cast<size_t>(m)] += height * std::exp(-0.5f * z * z);
    }
  }
}

}  // namespace

int64_t SynthFrames(const SynthOptions& options, int64_t utterance) {
  // Quantiles of HW4's lengths; between them the logarithm is linear. The points beside the published ones
  // bring the mean to 657.
  struct Point {
    float quantile, frames;
  };
  static constexpr Point kLaw[] = {{0, 91},      {0.1f, 397},   {0.5f, 540},    {0.7f, 640},
                                   {0.9f, 1055}, {0.99f, 2149}, {0.999f, 3400}, {1, 7193}};
  RandomStream random = Stream(options, kLength, static_cast<uint64_t>(utterance));
  const float q = random.Uniform();
  size_t i = 1;
  while (i + 1 < std::size(kLaw) && q > kLaw[i].quantile) ++i;
  const float t = (q - kLaw[i - 1].quantile) / (kLaw[i].quantile - kLaw[i - 1].quantile);
  const float frames = kLaw[i - 1].frames * std::pow(kLaw[i].frames / kLaw[i - 1].frames, t);
  const int64_t rounded = std::clamp<int64_t>(std::lround(frames), 91, 7193);
  return options.max_frames > 0 ? std::min(rounded, options.max_frames) : rounded;
}

int32_t SynthSpeaker(const SynthOptions& options, int64_t utterance) {
  return static_cast<int32_t>(utterance % options.speakers);
}

std::vector<float> Synthesize(const SynthOptions& options, int64_t utterance) {
  const int64_t speaker = SynthSpeaker(options, utterance);
  const int64_t frames = SynthFrames(options, utterance);
  const size_t n_mels = static_cast<size_t>(options.n_mels);
  const Bands bands = MakeBands(options.n_mels);
  const Speaker s = MakeSpeaker(options, static_cast<uint64_t>(speaker));
  RandomStream random = Stream(options, kContent, static_cast<uint64_t>(utterance));

  // The channel: a smooth curve over the bands and a roughness, drawn anew for every utterance. The noise
  // floor likewise.
  std::vector<float> channel(n_mels), noise_power(n_mels);
  const float gain = random.Gaussian();
  std::array<float, 6> wave;
  for (float& w : wave) w = 0.5f * random.Gaussian();
  const float noise_level = random.Uniform(-13.0f, -8.0f), noise_tilt = random.Uniform(-4.0f, 1.0f);
  for (size_t m = 0; m < n_mels; ++m) {
    const float x = (static_cast<float>(m) + 0.5f) / static_cast<float>(n_mels);
    channel[m] = gain + 0.35f * random.Gaussian();
    for (size_t k = 0; k < wave.size(); ++k)
      channel[m] += wave[k] * std::cos(3.14159265f * x * static_cast<float>(k + 1));
    noise_power[m] = std::exp(noise_level + noise_tilt * (x - 0.5f));
  }
  const float tempo = s.tempo * std::exp(0.12f * random.Gaussian());
  const float pitch = s.pitch * std::exp(0.06f * random.Gaussian());
  const float melody_phase = random.Uniform(0.0f, 6.2831853f),
              tremor_phase = random.Uniform(0.0f, 6.2831853f);

  std::vector<float> out(static_cast<size_t>(frames) * n_mels);
  std::vector<float> envelope(n_mels, -12.0f), previous(n_mels, -12.0f);
  float voicing = 0, previous_voicing = 0;
  int64_t left = 0, length = 1;
  for (int64_t t = 0; t < frames; ++t, --left) {
    if (left == 0) {
      previous = envelope;
      previous_voicing = voicing;
      const bool pause = random.Uniform() < 0.08f;
      if (pause) {
        std::fill(envelope.begin(), envelope.end(), -14.0f);
        voicing = 0;
        length = left = 4 + static_cast<int64_t>(random.Below(20));
      } else {
        const uint64_t phone = random.Below(kPhones);
        const Phone p = MakePhone(options, phone);
        MakeEnvelope(options, s, speaker, p, phone, &envelope);
        voicing = p.voicing;
        length = left = std::max<int64_t>(3, std::lround(p.frames / tempo * random.Uniform(0.6f, 1.5f)));
      }
    }
    // The first half of a segment glides over from the one before.
    const float glide =
        std::min(1.0f, 2.0f * static_cast<float>(length - left + 1) / static_cast<float>(length));
    const float time = static_cast<float>(t);
    const float f0 =
        pitch * std::exp(s.pitch_range * std::sin(time * 6.2831853f / s.melody_frames + melody_phase));
    const float loudness = s.tremor_depth * std::sin(time * 6.2831853f / s.tremor_frames + tremor_phase);
    const float depth = s.harmonic_depth * (previous_voicing + glide * (voicing - previous_voicing));
    float* frame = out.data() + static_cast<size_t>(t) * n_mels;
    for (size_t m = 0; m < n_mels; ++m) {
      float value = previous[m] + glide * (envelope[m] - previous[m]) + loudness;
      // Harmonics show where the bands lie closer than they do.
      const float resolved = 1.0f - bands.spacing_hz[m] / f0;
      if (resolved > 0 && depth > 0) value += depth * resolved * std::cos(6.2831853f * bands.hz[m] / f0);
      value += channel[m] + 0.45f * random.Gaussian();
      frame[m] = std::max(kFloor, std::log(std::exp(value) + noise_power[m]));
    }
  }
  return out;
}

std::string SynthSpeakerName(int64_t speaker) { return absl::StrFormat("speaker-%04d", speaker); }
std::string SynthUtteranceName(int64_t utterance) { return absl::StrFormat("utterance-%07d", utterance); }

}  // namespace data
