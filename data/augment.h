// Changes to training crops of log-mels that a model should not care about: level, noise, other voices, and
// pieces that are missing.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "data/dataset.h"
#include "data/mel_noise.h"
#include "data/random.h"

namespace data {

// Everything is off by default. They are applied in the order noise, babble, gain, masks.
//
// A mel is the natural logarithm of a band's power, and powers of independent sounds add: noise is added to
// exp(mel). The mel filters overlap such that their sum is flat, so the sum of exp(mel) over bands and frames
// is the crop's energy within the front end's range, and the ratio of two such sums a signal-to-noise ratio
// as one would measure it on the samples. Each addition gets its ratio, over the whole crop, to the crop
// without additions.
struct AugmentOptions {
  double gain_db = 0;             // level changed by a gain uniform in [-gain_db, gain_db]
  double noise_probability = 0;   // that a crop gets noise, its spectrum tilted by -6 to 3 dB per octave
  double babble_probability = 0;  // that a crop gets voices of other speakers
  std::array<double, 2> snr_db = {5, 20};  // each addition's ratio: uniform from the first to the second
  int64_t babble_voices = 4;               // voices: uniform in [1, babble_voices]
  // SpecAugment (Park et al., "SpecAugment: a simple data augmentation method for ASR", 2019, section 2), but
  // without its time warping: so many masks, each of a width uniform in [0, largest] and at a uniform place,
  // filled with the crop's mean. However many there are, all masks of a kind together take at most half of
  // the crop's valid frames, or of its bands.
  int64_t time_masks = 0;
  int64_t time_mask_frames = 0;  // largest width, frames
  int64_t frequency_masks = 0;
  int64_t frequency_mask_mels = 0;  // largest width, bands

  bool any() const;  // whether anything is on
};

// kInvalidArgument, naming what is wrong, where a value is out of its range; where babble is on and all of
// `utterances` (in the data set) are of one speaker; where noise is on and the data set's front end has no
// frequencies to compute it from.
absl::Status CheckAugment(const AugmentOptions& options, const Dataset& dataset,
                          std::span<const int64_t> utterances);

// Applies them to crops. What happens to a crop is a function of its frames and (seed, epoch, utterance)
// alone. One thread. Memory: a few crops, and with babble 8 bytes an utterance.
class Augmenter {
 public:
  // `utterances`: where babble's voices come from, labelled and in the data set. The options are such as
  // CheckAugment passes.
  Augmenter(const AugmentOptions& options, std::shared_ptr<const Dataset> dataset,
            std::span<const int64_t> utterances, uint64_t seed);

  // `mels` (T, n_mels): the valid frames of a crop of `utterance`, changed in place. No value falls below the
  // front end's floor. Errors of Dataset::Read, of babble's voices.
  absl::Status Apply(int64_t epoch, int64_t utterance, std::span<float> mels);

 private:
  absl::Status AddSounds(RandomStream* random, bool noise, bool babble, int64_t utterance,
                         std::span<float> mels);
  absl::Status DrawBabble(RandomStream* random, int64_t utterance, int64_t frames);
  // Who speaks in a labelled utterance: copies at other speeds have their original's number.
  int32_t Person(int64_t utterance) const;
  // Adds `sound_`, scaled to a ratio drawn from snr_db, to `added_`.
  void AddSound(RandomStream* random, double clean_power);
  void Gain(RandomStream* random, std::span<float> mels) const;
  void Mask(RandomStream* random, std::span<float> mels) const;

  const AugmentOptions options_;
  const std::shared_ptr<const Dataset> dataset_;
  const uint64_t seed_;
  const size_t n_mels_;
  const float log_floor_;
  std::vector<NoiseBand> bands_;  // with noise
  // With babble:
  std::vector<int32_t> originals_;   // of each speaker
  std::vector<int64_t> by_speaker_;  // the utterances, sorted by person
  // Scratch, (T, n_mels): power.
  std::vector<float> clean_, added_, sound_;
  std::vector<float> voice_;  // log-mels of a voice
};

}  // namespace data
