#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace data {

// A float32 matrix as `torch.save(tensor, path)` stores it, row by row.
struct PtMatrix {
  int64_t rows = 0;
  int64_t columns = 0;
  std::vector<float> values;  // (rows, columns)
};

// Reads the one file form that HW4's features have: torch.save's zip container with one dense two-dimensional
// float32 tensor (any strides). It is read here and not by LibTorch because these bytes come from outside:
// LibTorch's reader does not check the container's checksums and runs a whole pickle machine; this one checks
// every bound and every checksum, and knows just the handful of pickle instructions that a tensor is made of.
//
// Errors read on after the path. kDataLoss: damaged. kInvalidArgument: sound, but another thing, and what to
// do.
absl::StatusOr<PtMatrix> ParsePtMatrix(std::span<const uint8_t> bytes);

// The same from a file of at most 1 GiB; kNotFound where there is none.
absl::StatusOr<PtMatrix> ReadPtMatrix(const std::string& path);

}  // namespace data
