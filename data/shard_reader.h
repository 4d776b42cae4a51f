#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "data/files.h"
#include "data/manifest.h"

namespace data {

// One shard, open for reading. Open() checks everything but the frames; after it, reads are plain pread() at
// known offsets, without HDF5. All const methods are thread-safe. Memory: 12 bytes an utterance.
//
// A file that is touched while it is open is no longer believed: from then on each Read() also compares the
// whole utterance with its checksum. A file that takes its name meanwhile is not noticed: this one stays
// open.
class ShardReader {
 public:
  // Errors name the file: kNotFound missing; kDataLoss truncated, damaged or inconsistent; kInvalidArgument a
  // shard of another data set (other n_mels, other place). No byte reaches HDF5 before its checksum was found
  // right.
  static absl::StatusOr<ShardReader> Open(const std::string& folder, int64_t shard, const Manifest& manifest);

  const std::string& path() const { return path_; }
  int64_t size() const { return static_cast<int64_t>(speakers_.size()); }

  // `u` in [0, size()), unchecked.
  int64_t frames(int64_t u) const {
    return offsets_[static_cast<size_t>(u) + 1] - offsets_[static_cast<size_t>(u)];
  }
  int32_t speaker(int64_t u) const { return speakers_[static_cast<size_t>(u)]; }
  absl::StatusOr<std::string> utterance_id(int64_t u) const;

  // Reads frames [first, first + count) of utterance `u`, within its bounds, into `out` (count, n_mels).
  // kDataLoss names the shard where it has been changed since it was opened (see above) or become shorter,
  // and the utterance where a value is not finite.
  absl::Status Read(int64_t u, int64_t first, int64_t count, float* out) const;

  // kDataLoss where the stored bytes of utterance `u` do not have its checksum or hold a value that is not
  // finite.
  absl::Status Verify(int64_t u) const;

 private:
  ShardReader() = default;
  absl::Status ReadStructure(int64_t shard, const Manifest& manifest);
  absl::Status CheckLayout() const;
  absl::Status ReadFrames(int64_t u, int64_t first, int64_t count, float* out) const;
  absl::StatusOr<bool> WasTouched() const;
  absl::Status Damaged(int64_t u, const std::string& what) const;

  // Behind a pointer, so that readers can be moved.
  struct Believed {
    std::mutex mutex;                     // held while the layout is checked again
    std::atomic<int64_t> changed_ns = 0;  // the file's ctime when its layout was last found right
    std::atomic<bool> was_touched = false;
  };

  std::string path_;
  UniqueFd fd_;
  ShardInfo info_;
  std::unique_ptr<Believed> believed_ = std::make_unique<Believed>();
  DType dtype_ = DType::kFloat32;
  int64_t n_mels_ = 0;
  int64_t frames_offset_ = 0;
  int64_t names_offset_ = 0;
  int64_t name_width_ = 0;
  int64_t checksums_offset_ = 0;
  std::vector<int64_t> offsets_;
  std::vector<int32_t> speakers_;
};

// XXH3-64 of every byte of the file but its `frame_bytes` of frames at info.frames_offset.
absl::StatusOr<uint64_t> LayoutChecksum(int fd, const ShardInfo& info, int64_t frame_bytes,
                                        const std::string& path);

}  // namespace data
