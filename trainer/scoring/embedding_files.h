// Embeddings as files that other programs read.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace trainer::scoring {

// The bytes of a NumPy file (format 1.0): a C-ordered little-endian float32 array of shape (rows, columns).
// values: (rows, columns).
std::string NpyBytes(std::span<const float> values, int64_t rows, int64_t columns);

struct EmbeddingTable {
  std::span<const float> values;      // (N, width)
  int64_t width = 0;                  // E
  std::vector<std::string> ids;       // (N) of the utterances
  std::vector<std::string> speakers;  // (N) names; "" where unknown
};

// Writes an HDF5 file with the data sets `embeddings` (N, E) float32, `utterance` (N) and `speaker` (N), both
// zero-padded UTF-8 strings of fixed width, and the string attribute `checkpoint`. Replaces `path` only once
// all is written. Any thread. kResourceExhausted where the disk is full; the temporary file goes.
absl::Status WriteEmbeddingHdf5(const EmbeddingTable& table, const std::string& checkpoint,
                                const std::string& path);

}  // namespace trainer::scoring
