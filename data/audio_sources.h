#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/ingest.h"

namespace data {

// The recordings under `source`, in the order of speaker and then name:
//
//   a folder   `<source>/<speaker>/**`: every file that ends in .flac .wav .ogg .mp3 (any case; names that
//   begin with a
//              dot are passed over). The first folder's name is the speaker, whatever is below it. Split
//              `train`.
//   a file     a CSV with a header: columns `path` (relative to the CSV's folder, or absolute), `speaker`,
//   and perhaps
//              `split` (else `train`); other columns are passed over. Speakers sorted, rows of one speaker in
//              file order.
//
// An utterance's name is its path relative to `source` (for a CSV: as it stands there, normalised). Files are
// not opened. kNotFound: no such source. kInvalidArgument: names what is wrong, for a CSV with its line.
// `allow_empty`: a speaker's folder without recordings is passed over instead of being an error.
absl::StatusOr<IngestList> ListRecordings(const std::string& source, bool allow_empty);

}  // namespace data
