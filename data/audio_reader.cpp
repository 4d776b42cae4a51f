#include "data/audio_reader.h"

#include <sndfile.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "data/resample.h"

namespace data {
namespace {

constexpr int kMinRate = 4000;
constexpr int kMaxRate = 384000;
constexpr sf_count_t kBlockSamples = 1 << 16;  // decoded at once, over all channels

struct CloseSound {
  void operator()(SNDFILE* file) const { sf_close(file); }
};
using SoundFile = std::unique_ptr<SNDFILE, CloseSound>;

// libsndfile keeps the reason of a failed open in a global buffer that every other open clears. So opens
// share this lock, and a failed one is repeated with nobody beside it to learn its reason.
std::shared_mutex& OpenMutex() {
  static std::shared_mutex mutex;
  return mutex;
}

absl::StatusOr<SoundFile> Open(const std::string& path, SF_INFO& info) {
  {
    const std::shared_lock lock(OpenMutex());
    info = {};
    if (SoundFile file(sf_open(path.c_str(), SFM_READ, &info)); file) return file;
  }
  const std::unique_lock lock(OpenMutex());
  info = {};
  if (SoundFile file(sf_open(path.c_str(), SFM_READ, &info)); file) return file;
  return absl::InvalidArgumentError(absl::StrCat("cannot be opened as flac, wav, ogg or mp3: ",
                                                 absl::StripSuffix(sf_strerror(nullptr), ".")));
}

bool IsSupported(int format) {
  switch (format & SF_FORMAT_TYPEMASK) {
    case SF_FORMAT_FLAC:
    case SF_FORMAT_WAV:
    case SF_FORMAT_WAVEX:
    case SF_FORMAT_RF64:
    case SF_FORMAT_OGG:
    case SF_FORMAT_MPEG:
      return true;
    default:
      return false;
  }
}

bool IsFloat(int format) {
  const int subtype = format & SF_FORMAT_SUBMASK;
  return subtype == SF_FORMAT_FLOAT || subtype == SF_FORMAT_DOUBLE;
}

// libsndfile quietly shortens a wav whose file ends before its data does. The RIFF header still knows the
// full size. Writers to pipes leave a placeholder there (0 or about 2 or 4 GiB), which says nothing.
absl::Status CheckRiffSize(const std::string& path) {
  const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(path.c_str(), "rb"), std::fclose);
  std::array<unsigned char, 8> head{};
  if (!file || std::fread(head.data(), 1, head.size(), file.get()) != head.size()) return absl::OkStatus();
  if (std::memcmp(head.data(), "RIFF", 4) != 0) return absl::OkStatus();
  const uint32_t claimed = static_cast<uint32_t>(head[4]) | static_cast<uint32_t>(head[5]) << 8 |
                           static_cast<uint32_t>(head[6]) << 16 | static_cast<uint32_t>(head[7]) << 24;
  std::error_code error;
  const uintmax_t size = std::filesystem::file_size(path, error);
  if (error || claimed >= 0x7fff0000U || claimed + uintmax_t{8} <= size) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("is truncated: ", size, " bytes of the ", claimed + uintmax_t{8},
                                          " that its header promises"));
}

absl::Status CheckFile(const std::string& path) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  if (status.type() == std::filesystem::file_type::not_found) return absl::NotFoundError("no such file");
  if (error) return absl::InvalidArgumentError(absl::StrCat("cannot be read: ", error.message()));
  if (!std::filesystem::is_regular_file(status)) return absl::InvalidArgumentError("is not a file");
  const uintmax_t size = std::filesystem::file_size(path, error);
  if (!error && size == 0) return absl::InvalidArgumentError("is empty (0 bytes)");
  return absl::OkStatus();
}

absl::Status CheckInfo(const SF_INFO& info) {
  if (!IsSupported(info.format)) {
    return absl::InvalidArgumentError("is audio of an unsupported kind; convert it to flac, wav, ogg or mp3");
  }
  if (info.samplerate < kMinRate || info.samplerate > kMaxRate) {
    return absl::InvalidArgumentError(absl::StrFormat("has a sample rate of %d Hz; supported are %d to %d",
                                                      info.samplerate, kMinRate, kMaxRate));
  }
  if (info.channels < 1 || info.channels > kBlockSamples) {
    return absl::InvalidArgumentError(absl::StrCat("has ", info.channels, " channels"));
  }
  return absl::OkStatus();
}

// interleaved: (frames, channels) -> mono: (frames). `done` frames came before, for the message.
absl::Status MixToMono(const std::vector<float>& interleaved, sf_count_t frames, const SF_INFO& info,
                       sf_count_t done, std::vector<float>& mono) {
  const auto channels = static_cast<size_t>(info.channels);
  const bool bounded = IsFloat(info.format);
  mono.resize(static_cast<size_t>(frames));
  for (size_t frame = 0; frame < mono.size(); ++frame) {
    float sum = 0;
    for (size_t c = 0; c < channels; ++c) {
      const float value = interleaved[frame * channels + c];
      if (!std::isfinite(value)) {
        return absl::DataLossError(
            absl::StrFormat("holds %f at sample %d: not a number that can be heard", value, done + frame));
      }
      if (bounded && std::abs(value) > 1.0F) {
        return absl::InvalidArgumentError(absl::StrFormat(
            "is clipped: %g at sample %d, but floating-point audio lies in [-1, 1]; scale it down", value,
            done + frame));
      }
      sum += value;
    }
    mono[frame] = sum / static_cast<float>(channels);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Audio> ReadAudio(const std::string& path, int rate) {
  if (absl::Status status = CheckFile(path); !status.ok()) return status;
  SF_INFO info{};
  absl::StatusOr<SoundFile> file = Open(path, info);
  if (!file.ok()) return file.status();
  if (absl::Status status = CheckInfo(info); !status.ok()) return status;
  if (absl::Status status = CheckRiffSize(path); !status.ok()) return status;
  absl::StatusOr<Resampler> resampler = Resampler::Create(info.samplerate, rate);
  if (!resampler.ok()) return resampler.status();

  const sf_count_t block_frames = std::max<sf_count_t>(1, kBlockSamples / info.channels);
  const auto max_frames = static_cast<sf_count_t>(kMaxRecordingSeconds * info.samplerate);
  std::vector<float> interleaved(static_cast<size_t>(block_frames * info.channels));
  std::vector<float> mono;
  Audio audio;
  sf_count_t done = 0;
  while (true) {
    const sf_count_t got = sf_readf_float(file->get(), interleaved.data(), block_frames);
    if (const int error = sf_error(file->get()); error != SF_ERR_NO_ERROR) {
      return absl::DataLossError(absl::StrFormat("is damaged after %.2f s: %s",
                                                 static_cast<double>(done) / info.samplerate,
                                                 absl::StripSuffix(sf_strerror(file->get()), ".")));
    }
    if (got <= 0) break;
    if (absl::Status status = MixToMono(interleaved, got, info, done, mono); !status.ok()) return status;
    if (absl::Status status = resampler->Process(mono, audio.samples); !status.ok()) return status;
    done += got;
    if (done > max_frames) {
      return absl::InvalidArgumentError(
          absl::StrCat("is longer than ", kMaxRecordingSeconds / 60, " minutes; cut it into utterances"));
    }
  }
  if (done == 0) return absl::InvalidArgumentError("holds no samples");
  // Streams of unknown length announce 0 or the largest count.
  if (info.frames > done && info.frames < SF_COUNT_MAX) {
    return absl::DataLossError(
        absl::StrCat("is truncated: ", done, " samples of the ", info.frames, " that its header promises"));
  }
  if (absl::Status status = resampler->Finish(audio.samples); !status.ok()) return status;
  audio.seconds = static_cast<double>(done) / info.samplerate;
  return audio;
}

bool HasAudioExtension(const std::string& path) {
  const std::string extension = absl::AsciiStrToLower(std::filesystem::path(path).extension().string());
  return extension == ".flac" || extension == ".wav" || extension == ".ogg" || extension == ".mp3";
}

}  // namespace data
