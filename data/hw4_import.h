#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "data/ingest.h"

namespace data {

struct Hw4List {
  IngestList list;
  int n_mels = 0;
};

// Reads a HW4 folder's mapping.json, metadata.json and testdata.json, and checks them against each other.
// Speakers in the order of mapping.json's indexes; labelled utterances (split `train`) by speaker, then in
// metadata.json's order; then the unlabelled ones (split `test`) in testdata.json's order. An utterance's
// name is its feature_path. The .pt files are not opened. kNotFound: a file is missing. kInvalidArgument:
// names the file and what is wrong.
absl::StatusOr<Hw4List> ListHw4(const std::string& folder);

// One utterance's features from its .pt file, bit for bit. Besides ReadPtMatrix's errors: kInvalidArgument
// where its shape is not (mel_len, n_mels), kDataLoss for NaN or infinity. Any thread.
absl::StatusOr<Features> ReadHw4Features(const IngestItem& item, int n_mels);

// `mels import-hw4`: the folder to a data set.
absl::StatusOr<IngestSummary> ImportHw4(const std::string& source, const IngestOptions& ingest);

}  // namespace data
