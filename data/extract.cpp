#include "data/extract.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "data/audio_reader.h"
#include "data/audio_sources.h"
#include "data/silence.h"
#include "data/speed_copies.h"
#include "data/status_macros.h"

namespace data {
namespace {

absl::Status CheckOptions(const ExtractOptions& options) {
  // Written so that NaN fails too.
  if (options.normalize_db && !(*options.normalize_db >= -60.0 && *options.normalize_db <= 0.0)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--normalize-db ", *options.normalize_db, ": a peak level lies between -60 and 0 dB"));
  }
  return absl::OkStatus();
}

}  // namespace

FrontEnd MakeFrontEnd(const ExtractOptions& options) {
  FrontEnd front_end;
  front_end.source = "extract";
  front_end.sample_rate = kMelSampleRate;
  front_end.n_fft = kMelFftSize;
  front_end.hop = kMelHop;
  front_end.n_mels = options.n_mels;
  front_end.f_min = kMelLowHz;
  front_end.f_max = kMelHighHz;
  front_end.floor = 1e-9;
  front_end.trim_silence = options.trim_silence;
  front_end.normalize_db = options.normalize_db;
  return front_end;
}

absl::StatusOr<Features> ExtractFeatures(const std::string& path, const ExtractOptions& options,
                                         const LogMel& log_mel, double speed) {
  ASSIGN_OR_RETURN(Audio audio, ReadAudio(path, kMelSampleRate, speed));
  if (std::all_of(audio.samples.begin(), audio.samples.end(), [](float sample) { return sample == 0; })) {
    return absl::InvalidArgumentError("is digital silence");
  }
  if (options.normalize_db) RETURN_IF_ERROR(NormalizePeak(audio.samples, *options.normalize_db));
  if (options.trim_silence) {
    audio.samples = TrimSilence(audio.samples, kMelSampleRate);
    if (audio.samples.empty()) {
      return absl::InvalidArgumentError(
          "holds only silence (below 1 % of full scale): --trim-silence leaves nothing");
    }
  }
  Features features;
  features.seconds = audio.seconds;
  RETURN_IF_ERROR(log_mel.Compute(audio.samples, features.frames));
  return features;
}

absl::StatusOr<IngestSummary> Extract(const std::string& source, const ExtractOptions& options,
                                      const IngestOptions& ingest) {
  RETURN_IF_ERROR(CheckOptions(options));
  absl::StatusOr<LogMel> log_mel = LogMel::Create(options.n_mels);
  if (!log_mel.ok()) return log_mel.status();
  IngestOptions options_with_speeds = ingest;
  if (options.speeds) {
    ASSIGN_OR_RETURN(options_with_speeds.writer.speeds, ParseSpeeds(*options.speeds));
  }
  ASSIGN_OR_RETURN(IngestList list, ListRecordings(source, ingest.skip_bad));
  // In this order: a recording that goes to validation must have no copy to train on.
  RETURN_IF_ERROR(DealSplits(ingest, &list));
  RETURN_IF_ERROR(AddSpeedCopies(options_with_speeds.writer.speeds, &list));
  // Files are the unit of parallelism; LibTorch's own threads would only fight over the same cores.
  at::set_num_threads(1);
  const ReadFeatures read = [&](const IngestItem& item) -> absl::StatusOr<Features> {
    absl::StatusOr<Features> features = ExtractFeatures(item.path, options, *log_mel, item.speed);
    if (features.ok() || item.speed == 1) return features;
    return absl::Status(features.status().code(),
                        absl::StrCat("at speed ", item.speed, " ", std::string(features.status().message())));
  };
  return Ingest(std::move(list), read, MakeFrontEnd(options), options_with_speeds);
}

}  // namespace data
