#pragma once

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "data/ingest.h"
#include "data/log_mel.h"

namespace data {

// How a recording becomes features, in this order: decode, mean of the channels, resample to 16 kHz (and to
// another speed), bring to a peak level, cut silence, log-mels.
struct ExtractOptions {
  int n_mels = 40;
  std::optional<double> normalize_db{};  // peak level in dB of full scale, -60 to 0; none: as it is
  bool trim_silence = false;             // data/silence.h says what goes
  // "0.9,1.1": training recordings also get copies at these speeds (data/speed_copies.h); none: no copies.
  std::optional<std::string> speeds{};
};

// Options as data sets record them.
FrontEnd MakeFrontEnd(const ExtractOptions& options);

// One recording's log-mels. `log_mel` was made for options.n_mels. Any thread. Besides ReadAudio's errors:
// kInvalidArgument for a recording that is digital silence, or too short for one frame (after the cuts).
// `speed` as in ReadAudio.
absl::StatusOr<Features> ExtractFeatures(const std::string& path, const ExtractOptions& options,
                                         const LogMel& log_mel, double speed = 1);

// `mels extract`: the recordings that ListRecordings(source) finds, to a data set.
absl::StatusOr<IngestSummary> Extract(const std::string& source, const ExtractOptions& options,
                                      const IngestOptions& ingest);

}  // namespace data
