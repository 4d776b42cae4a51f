// state.json: what a checkpoint holds beside tensors, and the checksums of all three files. Private to
// trainer/checkpoint.
//
// One JSON object: "format_version" (1), "step", "is_best", the run's own keys, and last "checksums": file
// name to XXH3-64 in hexadecimal. The last of these is state.json's own: it covers every byte of the file,
// its own 16 digits taken as zeros, and stands at a fixed place before the end, so that it can be found in a
// damaged file too.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace trainer::checkpoint {

inline constexpr char kModelFile[] = "model.safetensors";
inline constexpr char kOptimizerFile[] = "optimizer.safetensors";
inline constexpr char kStateFile[] = "state.json";

struct StateFile {
  nlohmann::json state;  // with "step", without the other keys of the store
  bool is_best = false;  // saved as the best so far
  uint64_t model_checksum = 0;
  uint64_t optimizer_checksum = 0;
};

// kInvalidArgument: `state` is not an object, uses "format_version", "is_best" or "checksums", or holds
// strings that are not UTF-8.
absl::StatusOr<std::string> EncodeState(const StateFile& file, int64_t step);

// kDataLoss: damaged. kFailedPrecondition: of a later format. `path` stands for the file in errors.
absl::StatusOr<StateFile> DecodeState(const std::string& text, const std::string& path);

}  // namespace trainer::checkpoint
