#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "data/manifest.h"
#include "data/shard_reader.h"

namespace data {

// A data set open for reading: utterances numbered 0 to size() - 1 through all shards. All methods are
// thread-safe. Memory: 12 bytes an utterance and one open file a shard; frames and names are read when asked
// for.
class Dataset {
 public:
  // Checks every shard but its frames (see ShardReader::Open). Errors as LoadManifest and ShardReader::Open.
  // `only_splits`: where there are some, shards without their utterances are neither needed nor opened, and
  // nobody may ask for an utterance in them.
  static absl::StatusOr<std::shared_ptr<const Dataset>> Open(
      const std::string& folder, const std::vector<std::string>& only_splits = {});

  const std::string& folder() const { return folder_; }
  const Manifest& manifest() const { return manifest_; }
  int64_t n_mels() const { return manifest_.front_end.n_mels; }
  int64_t size() const { return first_.back(); }

  // `u` in [0, size()), unchecked.
  int64_t frames(int64_t u) const;
  int32_t speaker(int64_t u) const;  // index into manifest().speakers, -1 = unlabelled
  absl::StatusOr<std::string> utterance_id(int64_t u) const;

  // The utterances of a split, ascending. kNotFound lists the splits that exist.
  absl::StatusOr<std::vector<int64_t>> Split(const std::string& name) const;

  // How many of `utterances` each speaker of the manifest has.
  std::vector<int64_t> CountBySpeaker(std::span<const int64_t> utterances) const;

  // Reads frames [first_frame, first_frame + n_frames) of utterance `u` into `out` (n_frames, n_mels) as
  // float32, without allocating. kOutOfRange for frames the utterance does not have; kDataLoss, naming shard
  // and utterance, where a value is not finite or the file has been cut since.
  absl::Status Read(int64_t u, int64_t first_frame, int64_t n_frames, float* out) const;

 private:
  Dataset() = default;
  // The shard of `u`, and `u`'s number in it.
  const ShardReader& Locate(int64_t* u) const;

  std::string folder_;
  Manifest manifest_;
  std::vector<std::optional<ShardReader>> shards_;
  std::vector<int64_t> first_ = {0};  // (shards + 1): first utterance of each shard, then size()
};

}  // namespace data
