#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace data {

// What torch.save's pickle says of a single tensor. Nothing in it has been checked against anything.
struct PickledTensor {
  std::string storage_type;  // "FloatStorage", ...
  std::string storage_key;   // names the archive's entry with the values
  int64_t offset = 0;        // of the first element in the storage, in elements, like the strides
  std::vector<int64_t> sizes;
  std::vector<int64_t> strides;
};

// Understands just the instructions of Python's pickle machine that a plain tensor needs, and calls nothing.
// kDataLoss: not a sound pickle. kInvalidArgument: a pickle of something else, such as a dictionary.
absl::StatusOr<PickledTensor> ParseTensorPickle(std::span<const uint8_t> pickle);

}  // namespace data
