#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace data {

// A copy of a data set, or of the part of it that some splits need, on a disk of this host:
//
//   <folder>/<name>-<checksum of dataset.json>/{dataset.json, shard-00000.h5, ..., staged.json}
//   <folder>/<the same name>.lock
//
// Another content of the data set gets another folder, so a copy is never of an older one. staged.json holds
// of each shard that is there its size, its checksum as read from the source, and when the file was last
// changed. A shard that has size and time as noted is taken as it is, one with the noted checksum too; all
// others are copied again. Shards are written to a temporary name, fsynced, read back from the disk and
// compared with what the source gave, and renamed; dataset.json comes last. Whatever ends the process, the
// next start goes on with the shards that are complete.
//
// Processes of one host that stage to one folder take turns, by a lock that ends with its holder.
struct StagingOptions {
  std::string source;               // a data set
  std::string folder;               // made where it is missing
  std::vector<std::string> splits;  // whose shards are copied; names that the data set lacks do not count

  // Asked every few megabytes and while waiting for another process: true ends it with kCancelled.
  std::function<bool()> stop_requested;
  // Told of bytes copied or checked, of `total`; not called while all is there. May be empty.
  std::function<void(int64_t done, int64_t total)> progress;
  // Told once where another process has to be waited for. May be empty.
  std::function<void(const std::string& lock)> waiting;
};

struct StagedDataset {
  std::string folder;  // of the copy
  int64_t shards = 0;  // that it needs
  int64_t copied_shards = 0, copied_bytes = 0;
};

// Errors: of the source as LoadManifest, and kDataLoss for a shard that is not as long as it says;
// kInvalidArgument where `folder` cannot be written to; kResourceExhausted where its disk has too little room
// (found out before anything is copied) or gets full; kInternal where the disk gives back other bytes than it
// was given; kCancelled.
absl::StatusOr<StagedDataset> StageDataset(const StagingOptions& options);

// What StageDataset would find to do, told without writing anything.
struct StagingNeed {
  std::string folder;         // of the copy; it need not be there
  int64_t bytes = 0;          // of the shards that the splits need
  int64_t missing_bytes = 0;  // of those that are not there, or not as long as they should be
};

// `options` needs no more than source, folder and splits. Errors: of the source, as LoadManifest.
absl::StatusOr<StagingNeed> MeasureStaging(const StagingOptions& options);

}  // namespace data
