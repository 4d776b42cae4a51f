#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "data/manifest.h"

namespace data {

// Collects the utterances of one shard in memory, then writes the file. One thread at a time.
class ShardWriter {
 public:
  ShardWriter(int n_mels, DType dtype) : n_mels_(n_mels), dtype_(dtype) {}

  // Sets memory aside for the frames of one shard.
  void Reserve(int64_t frame_bytes);

  // `frames`: (T, n_mels), checked by the caller to be finite and, for float16, in range.
  void Add(const std::string& utterance, int32_t speaker, std::span<const float> frames);

  int64_t utterances() const { return static_cast<int64_t>(speakers_.size()); }
  int64_t frame_bytes() const { return static_cast<int64_t>(frames_.size()); }

  // Writes shard number `shard` into `folder` under a temporary name, syncs, renames, and empties the writer.
  // kResourceExhausted: disk full; the temporary file is removed.
  absl::StatusOr<ShardInfo> Write(const std::string& folder, int64_t shard);

 private:
  absl::StatusOr<ShardInfo> WriteFile(const std::string& path, int64_t shard) const;
  absl::Status WriteStructure(const std::string& path, int64_t shard, const std::vector<char>& names,
                              size_t name_width, ShardInfo* info) const;
  std::vector<char> PackedNames(size_t* width) const;  // each of `*width` bytes, zero-padded

  int n_mels_;
  DType dtype_;
  std::vector<uint8_t> frames_;  // in the on-disk type
  std::vector<int64_t> offsets_ = {0};
  std::vector<int32_t> speakers_;
  std::vector<std::string> names_;
  std::vector<uint64_t> checksums_;
};

}  // namespace data
