#include "data/augment.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numbers>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "data/fast_math.h"
#include "data/speed_copies.h"
#include "data/status_macros.h"

namespace data {
namespace {

// Power density of the noise, dB per octave: from brown over pink and white to blue.
constexpr float kLeastTiltDb = -6.0f;
constexpr float kMostTiltDb = 3.0f;

// Uniform in [low, high], in double: bounds come from a configuration.
double UniformIn(RandomStream* random, double low, double high) {
  return low + (high - low) * static_cast<double>(random->Uniform());
}

// Of (T, n_mels). Column by column, so that the inner loop is vector code and rounding does not grow with T *
// n_mels.
double Sum(std::span<const float> values, size_t n_mels) {
  std::vector<float> columns(n_mels);
  for (size_t first = 0; first < values.size(); first += n_mels) {
    for (size_t m = 0; m < n_mels; ++m) columns[m] += values[first + m];
  }
  double sum = 0;
  for (const float column : columns) sum += static_cast<double>(column);
  return sum;
}

// Where a mask lies, of a width up to `largest` within `size` places. Takes its width from `*budget`.
std::pair<size_t, size_t> DrawMask(RandomStream* random, int64_t largest, size_t size, size_t* budget) {
  const uint64_t most = std::min(static_cast<uint64_t>(largest), static_cast<uint64_t>(*budget));
  const auto width = static_cast<size_t>(random->Below(most + 1));
  const auto start = static_cast<size_t>(random->Below(size - width + 1));
  *budget -= width;
  return {start, width};
}

}  // namespace

bool AugmentOptions::any() const {
  return gain_db > 0 || noise_probability > 0 || babble_probability > 0 ||
         (time_masks > 0 && time_mask_frames > 0) || (frequency_masks > 0 && frequency_mask_mels > 0);
}

absl::Status CheckAugment(const AugmentOptions& options, const Dataset& dataset,
                          std::span<const int64_t> utterances) {
  const auto wrong = [](const std::string& what) {
    return absl::InvalidArgumentError(absl::StrCat("augmentation: ", what));
  };
  const auto [low, high] = options.snr_db;
  // Comparisons are written so that NaN fails too.
  if (!(options.gain_db >= 0 && options.gain_db <= 100)) {
    return wrong(absl::StrCat("a gain of ", options.gain_db, " dB; use 0 to 100"));
  }
  for (const double probability : {options.noise_probability, options.babble_probability}) {
    if (!(probability >= 0 && probability <= 1)) return wrong(absl::StrCat("a probability of ", probability));
  }
  if (!(low >= -100 && low <= high && high <= 100)) {
    return wrong(absl::StrCat("signal-to-noise ratios from ", low, " to ", high,
                              " dB; use an ascending range within -100 and 100"));
  }
  if (options.time_masks < 0 || options.time_mask_frames < 0 || options.frequency_masks < 0 ||
      options.frequency_mask_mels < 0) {
    return wrong("a negative number or width of masks");
  }
  if (options.babble_probability > 0) {
    if (options.babble_voices < 1) return wrong(absl::StrCat("babble of ", options.babble_voices, " voices"));
    const auto originals = OriginalNumbers(dataset.manifest().speakers, dataset.manifest().speeds);
    const auto person = [&](int64_t u) { return originals[static_cast<size_t>(dataset.speaker(u))]; };
    const auto same = [&](int64_t u) { return person(u) == person(utterances.front()); };
    if (std::all_of(utterances.begin(), utterances.end(), same)) {
      return wrong("babble needs utterances of two speakers at least; set its probability to 0");
    }
  }
  const FrontEnd& front_end = dataset.manifest().front_end;
  if (options.noise_probability > 0 && !(front_end.f_min >= 0 && front_end.f_min < front_end.f_max)) {
    return wrong(absl::StrCat("noise needs a front end with frequencies, and ", dataset.folder(), " has ",
                              front_end.f_min, " to ", front_end.f_max, " Hz"));
  }
  return absl::OkStatus();
}

Augmenter::Augmenter(const AugmentOptions& options, std::shared_ptr<const Dataset> dataset,
                     std::span<const int64_t> utterances, uint64_t seed)
    : options_(options),
      dataset_(std::move(dataset)),
      seed_(seed),
      n_mels_(static_cast<size_t>(dataset_->n_mels())),
      log_floor_(static_cast<float>(std::log(std::max(0.0, dataset_->manifest().front_end.floor)))) {
  if (options_.noise_probability > 0) bands_ = NoiseBands(dataset_->manifest().front_end);
  if (options_.babble_probability > 0) {
    originals_ = OriginalNumbers(dataset_->manifest().speakers, dataset_->manifest().speeds);
    by_speaker_.assign(utterances.begin(), utterances.end());
    std::stable_sort(by_speaker_.begin(), by_speaker_.end(),
                     [&](int64_t a, int64_t b) { return Person(a) < Person(b); });
  }
}

absl::Status Augmenter::Apply(int64_t epoch, int64_t utterance, std::span<float> mels) {
  RandomStream random(seed_, Purpose::kAugment, static_cast<uint64_t>(epoch),
                      static_cast<uint64_t>(utterance));
  // Drawn one after the other, whether used or not: what turns one of them on leaves the other as it was.
  const auto noise_draw = static_cast<double>(random.Uniform());
  const auto babble_draw = static_cast<double>(random.Uniform());
  const bool noise = noise_draw < options_.noise_probability;
  const bool babble = babble_draw < options_.babble_probability;
  if (noise || babble) RETURN_IF_ERROR(AddSounds(&random, noise, babble, utterance, mels));
  if (options_.gain_db > 0) Gain(&random, mels);
  Mask(&random, mels);
  return absl::OkStatus();
}

absl::Status Augmenter::AddSounds(RandomStream* random, bool noise, bool babble, int64_t utterance,
                                  std::span<float> mels) {
  const size_t size = mels.size();
  clean_.resize(size);
  for (size_t i = 0; i < size; ++i) clean_[i] = FastExp(mels[i]);
  const double clean_power = Sum(clean_, n_mels_);
  added_.assign(size, 0.0f);
  sound_.resize(size);
  if (noise) {
    DrawNoise(bands_, random->Uniform(kLeastTiltDb, kMostTiltDb), random, sound_);
    AddSound(random, clean_power);
  }
  if (babble) {
    RETURN_IF_ERROR(DrawBabble(random, utterance, static_cast<int64_t>(size / n_mels_)));
    AddSound(random, clean_power);
  }
  // Power was added, so nothing gets smaller; and nothing becomes infinite, however absurd the data.
  for (size_t i = 0; i < size; ++i) {
    mels[i] = std::max(mels[i], FastLog(std::min(clean_[i] + added_[i], 1e30f)));
  }
  return absl::OkStatus();
}

absl::Status Augmenter::DrawBabble(RandomStream* random, int64_t utterance, int64_t frames) {
  // All utterances but those of the crop's own speaker and of copies of it.
  const auto by_speaker = [&](int64_t a, int64_t b) { return Person(a) < Person(b); };
  const auto [own, others] = std::equal_range(by_speaker_.begin(), by_speaker_.end(), utterance, by_speaker);
  const auto skip = static_cast<uint64_t>(own - by_speaker_.begin());
  const auto skipped = static_cast<uint64_t>(others - own);
  std::fill(sound_.begin(), sound_.end(), 0.0f);
  const uint64_t voices = 1 + random->Below(static_cast<uint64_t>(options_.babble_voices));
  for (uint64_t v = 0; v < voices; ++v) {
    uint64_t choice = random->Below(by_speaker_.size() - skipped);
    if (choice >= skip) choice += skipped;
    const int64_t voice = by_speaker_[choice];
    // A piece of a long one; a short one from any frame on and over again.
    const int64_t available = dataset_->frames(voice);
    const bool is_long = available >= frames;
    const auto start = static_cast<int64_t>(
        random->Below(static_cast<uint64_t>(is_long ? available - frames + 1 : available)));
    const int64_t read = std::min(available, frames);
    voice_.resize(static_cast<size_t>(read) * n_mels_);
    RETURN_IF_ERROR(dataset_->Read(voice, is_long ? start : 0, read, voice_.data()));
    for (int64_t t = 0; t < frames; ++t) {
      const float* from =
          voice_.data() + static_cast<size_t>(is_long ? t : (start + t) % available) * n_mels_;
      float* to = sound_.data() + static_cast<size_t>(t) * n_mels_;
      for (size_t m = 0; m < n_mels_; ++m) to[m] += FastExp(from[m]);
    }
  }
  return absl::OkStatus();
}

int32_t Augmenter::Person(int64_t utterance) const {
  return originals_[static_cast<size_t>(dataset_->speaker(utterance))];
}

void Augmenter::AddSound(RandomStream* random, double clean_power) {
  const double snr_db = UniformIn(random, options_.snr_db[0], options_.snr_db[1]);
  const double sound_power = Sum(sound_, n_mels_);
  if (!(sound_power > 0)) return;
  const double ratio = clean_power / sound_power * std::pow(10.0, -snr_db / 10);
  const auto scale = static_cast<float>(std::min(ratio, 1e30));
  for (size_t i = 0; i < added_.size(); ++i) added_[i] += scale * sound_[i];
}

void Augmenter::Gain(RandomStream* random, std::span<float> mels) const {
  const double gain_db = UniformIn(random, -options_.gain_db, options_.gain_db);
  const auto shift = static_cast<float>(gain_db * std::numbers::ln10 / 10);
  for (float& mel : mels) mel = std::max(mel + shift, log_floor_);
}

void Augmenter::Mask(RandomStream* random, std::span<float> mels) const {
  if (options_.time_masks == 0 && options_.frequency_masks == 0) return;
  const size_t frames = mels.size() / n_mels_;
  const auto fill = static_cast<float>(Sum(mels, n_mels_) / static_cast<double>(mels.size()));
  size_t budget = frames / 2;
  for (int64_t i = 0; i < options_.time_masks; ++i) {
    const auto [start, width] = DrawMask(random, options_.time_mask_frames, frames, &budget);
    std::fill_n(mels.begin() + static_cast<ptrdiff_t>(start * n_mels_), width * n_mels_, fill);
  }
  budget = n_mels_ / 2;
  for (int64_t i = 0; i < options_.frequency_masks; ++i) {
    const auto [start, width] = DrawMask(random, options_.frequency_mask_mels, n_mels_, &budget);
    for (size_t t = 0; t < frames; ++t) {
      std::fill_n(mels.begin() + static_cast<ptrdiff_t>(t * n_mels_ + start), width, fill);
    }
  }
}

}  // namespace data
