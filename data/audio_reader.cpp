#include "data/audio_reader.h"

#include <sndfile.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <mutex>
#include <numeric>
#include <shared_mutex>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "data/resample.h"

namespace data {
namespace {

constexpr int kMinRate = 4000;
constexpr int kMaxRate = 384000;
// Full scale is 1. Lossy decoders and floating-point mixes go a little beyond; integers that somebody stored
// as floating point go far beyond.
constexpr float kLargestSample = 8.0F;
constexpr sf_count_t kBlockSamples = 1 << 16;  // decoded at once, over all channels

struct CloseSound {
  void operator()(SNDFILE* file) const { sf_close(file); }
};
using SoundFile = std::unique_ptr<SNDFILE, CloseSound>;

// libsndfile's words for an error, without what it puts around them.
std::string Reason(const char* text) {
  absl::string_view reason = absl::StripAsciiWhitespace(text);
  absl::ConsumePrefix(&reason, "Error : ");
  absl::ConsumeSuffix(&reason, ".");
  // What it says of an mp3 that it cannot make sense of. The file is there: that has been checked.
  if (absl::StartsWith(reason, "File does not exist")) return "damaged, or of another kind";
  return std::string(reason);
}

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
  return absl::InvalidArgumentError(
      absl::StrCat("cannot be opened as flac, wav, ogg or mp3: ", Reason(sf_strerror(nullptr))));
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

// The first or the last bytes of a file; fewer where it is shorter or cannot be read.
std::string EdgeBytes(const std::string& path, bool at_end, size_t count) {
  std::ifstream file(path, std::ios::binary);
  if (at_end) {
    file.seekg(0, std::ios::end);
    file.seekg(std::max<std::streamoff>(0, file.tellg() - static_cast<std::streamoff>(count)));
  }
  std::string bytes(count, '\0');
  file.read(bytes.data(), static_cast<std::streamsize>(count));
  bytes.resize(static_cast<size_t>(file.gcount()));
  return bytes;
}

// Whether a RIFF file of `size` bytes lacks nothing but the byte that pads its last chunk to an even length,
// which many programs do not write and none needs.
bool LacksOnlyPadding(const std::string& path, uintmax_t size) {
  std::ifstream file(path, std::ios::binary);
  uintmax_t chunk = 12;  // where it begins: after "RIFF", the size and "WAVE"
  while (chunk + 8 <= size) {
    std::array<unsigned char, 8> head{};
    file.seekg(static_cast<std::streamoff>(chunk));
    if (!file.read(reinterpret_cast<char*>(head.data()), head.size())) return false;
    uintmax_t bytes = 0;
    for (size_t i = 0; i < 4; ++i) bytes += static_cast<uintmax_t>(head[4 + i]) << (8 * i);
    const uintmax_t end = chunk + head.size() + bytes;
    if (end == size) return bytes % 2 == 1;
    chunk = end + bytes % 2;
  }
  return false;
}

// libsndfile quietly shortens a wav whose file ends before its data does. The RIFF header still knows the
// full size. Writers to pipes leave a placeholder there (about 2 or 4 GiB), which says nothing.
absl::Status CheckWavEnd(const std::string& path) {
  const std::string head = EdgeBytes(path, /*at_end=*/false, 8);
  if (!absl::StartsWith(head, "RIFF") || head.size() < 8) return absl::OkStatus();
  uintmax_t claimed = 8;
  for (size_t i = 0; i < 4; ++i)
    claimed += static_cast<uintmax_t>(static_cast<unsigned char>(head[4 + i])) << (8 * i);
  std::error_code error;
  const uintmax_t size = std::filesystem::file_size(path, error);
  if (error || claimed >= 0x7fff0000U || claimed <= size) return absl::OkStatus();
  if (claimed == size + 1 && LacksOnlyPadding(path, size)) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrCat("is truncated: ", size, " bytes of the ", claimed, " that its header promises"));
}

// The same for ogg, which is a row of pages: the last one is marked, and must be there to its end.
absl::Status CheckOggEnd(const std::string& path) {
  constexpr size_t kLargestPage = 65307;
  constexpr size_t kFlags = 5;  // offsets in a page
  constexpr size_t kSegmentCount = 26;
  constexpr size_t kSegments = 27;
  const absl::Status truncated = absl::DataLossError("is truncated: its last page is missing or incomplete");
  const std::string tail = EdgeBytes(path, /*at_end=*/true, kLargestPage);
  const size_t begin = tail.rfind("OggS");
  if (begin == std::string::npos) return truncated;
  const auto* page = reinterpret_cast<const unsigned char*>(tail.data()) + begin;
  const size_t size = tail.size() - begin;
  if (size < kSegments || (page[kFlags] & 4) == 0) return truncated;
  const size_t head = kSegments + page[kSegmentCount];
  if (size < head) return truncated;
  return std::accumulate(page + kSegments, page + head, head) <= size ? absl::OkStatus() : truncated;
}

absl::Status CheckEnd(const std::string& path, int format) {
  switch (format & SF_FORMAT_TYPEMASK) {
    case SF_FORMAT_WAV:
    case SF_FORMAT_WAVEX:
      return CheckWavEnd(path);
    case SF_FORMAT_OGG:
      return CheckOggEnd(path);
    default:
      return absl::OkStatus();
  }
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
  mono.resize(static_cast<size_t>(frames));
  for (size_t frame = 0; frame < mono.size(); ++frame) {
    float sum = 0;
    for (size_t c = 0; c < channels; ++c) {
      const float value = interleaved[frame * channels + c];
      if (!std::isfinite(value)) {
        return absl::DataLossError(
            absl::StrFormat("holds %f at sample %d: not a number that can be heard", value, done + frame));
      }
      if (std::abs(value) > kLargestSample) {
        return absl::InvalidArgumentError(
            absl::StrFormat("holds %g at sample %d, but float audio must be within [-1, 1]; scale it down",
                            value, done + frame));
      }
      sum += value;
    }
    mono[frame] = sum / static_cast<float>(channels);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Audio> ReadAudio(const std::string& path, int rate, double speed) {
  if (absl::Status status = CheckFile(path); !status.ok()) return status;
  SF_INFO info{};
  absl::StatusOr<SoundFile> file = Open(path, info);
  if (!file.ok()) return file.status();
  if (absl::Status status = CheckInfo(info); !status.ok()) return status;
  if (absl::Status status = CheckEnd(path, info.format); !status.ok()) return status;
  absl::StatusOr<Resampler> resampler = Resampler::Create(info.samplerate * speed, rate);
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
                                                 Reason(sf_strerror(file->get()))));
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
  audio.seconds = static_cast<double>(done) / info.samplerate / speed;
  return audio;
}

bool HasAudioExtension(const std::string& path) {
  const std::string extension = absl::AsciiStrToLower(std::filesystem::path(path).extension().string());
  return extension == ".flac" || extension == ".wav" || extension == ".ogg" || extension == ".mp3";
}

}  // namespace data
