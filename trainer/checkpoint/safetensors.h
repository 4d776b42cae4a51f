// Tensors in files of the safetensors format, which Python's `safetensors` package reads and writes as well.
//
// A file is: the length of the header (8 bytes, little-endian), the header (JSON: for each tensor its dtype,
// shape and place), then the tensors' raw little-endian values. Dtypes: F64 F32 F16 BF16 I64 I32 I16 I8 U8
// BOOL.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace trainer::checkpoint {

// Names are unique; the order is kept by writing and reading.
using NamedTensors = std::vector<std::pair<std::string, torch::Tensor>>;
using Metadata = std::map<std::string, std::string>;

// A file's content before it is written. Holds the tensors (copied only where they are not contiguous or not
// on the CPU): they must not change until it is written.
struct EncodedSafetensors {
  std::string header;                 // the length and the JSON
  std::vector<torch::Tensor> values;  // contiguous, on the CPU, in the order of the file

  // The bytes of the file, piece by piece; valid as long as this object is.
  std::vector<std::span<const char>> Pieces() const&;
  std::vector<std::span<const char>> Pieces() && = delete;

  // XXH3-64 of the file.
  uint64_t Checksum() const;
};

// kInvalidArgument: a name twice, a reserved name, an undefined tensor, a dtype or layout that the format
// lacks.
absl::StatusOr<EncodedSafetensors> EncodeSafetensors(const NamedTensors& tensors,
                                                     const Metadata& metadata = {});

// Writes (over) `path` and fsyncs it. Not atomic: where it fails, the file is removed. kResourceExhausted:
// disk full.
absl::Status WriteSafetensors(const std::string& path, const NamedTensors& tensors,
                              const Metadata& metadata = {});

struct Safetensors {
  NamedTensors tensors;  // on the CPU, memory of their own
  Metadata metadata;
};

// kNotFound: no such file. kDataLoss: not a safetensors file, or a damaged one. Never reads outside the file,
// whatever its bytes say.
absl::StatusOr<Safetensors> ReadSafetensors(const std::string& path);

// The same from memory; `name` stands for the file in errors.
absl::StatusOr<Safetensors> ParseSafetensors(std::span<const char> bytes, const std::string& name);

}  // namespace trainer::checkpoint
