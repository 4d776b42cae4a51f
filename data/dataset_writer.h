#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "data/files.h"
#include "data/front_end.h"
#include "data/manifest.h"
#include "data/shard_writer.h"

namespace data {

struct WriterOptions {
  std::string folder;  // made where missing
  FrontEnd front_end;
  DType dtype = DType::kFloat32;
  int64_t shard_mib = 256;            // frames held in memory, and the size of a full shard
  std::vector<std::string> speakers;  // unique, not empty strings; indexes into it label the utterances
  std::vector<double> speeds{};       // of the copies among the speakers (data/speed_copies.h)
  bool overwrite = false;             // replace a data set that is there
};

// Writes a data set: shards as they fill, dataset.json last and atomically, so that a folder without
// dataset.json is not a data set. Destroyed before Finish() it removes what it wrote; killed, it leaves a
// mark by which the next writer knows the shards as leftovers. Memory: one shard, whatever the data set's
// size. One thread at a time.
//
//   auto writer = DatasetWriter::Create({.folder = "mels", .front_end = front_end, .speakers = {"ann",
//   "bob"}});
//   (*writer)->Add("ann/0001.flac", 0, "train", frames);
//   (*writer)->Finish();
class DatasetWriter {
 public:
  // kAlreadyExists: the folder holds a data set, or shards that no killed writer left there, and `overwrite`
  // is off; or files of others under the names of shards, which are never removed. kInvalidArgument: options.
  // kFailedPrecondition: another process writes there. kResourceExhausted: disk full.
  static absl::StatusOr<std::unique_ptr<DatasetWriter>> Create(WriterOptions options);
  ~DatasetWriter();
  DatasetWriter(const DatasetWriter&) = delete;
  DatasetWriter& operator=(const DatasetWriter&) = delete;

  // Appends an utterance. `utterance`: its name, unique in the data set, 1 to 4096 bytes. `speaker`: index
  // into options.speakers, -1 = unlabelled. `split`: name, empty = in no split. `frames`: (T, n_mels), T >=
  // 1, finite, and within +-65504 for float16. kInvalidArgument names the utterance and adds nothing;
  // kResourceExhausted: disk full.
  absl::Status Add(const std::string& utterance, int32_t speaker, const std::string& split,
                   std::span<const float> frames);

  // Writes the last shard and dataset.json. kInvalidArgument where nothing was added.
  absl::Status Finish();

  int64_t utterances() const { return utterances_; }
  int64_t frames() const { return frames_; }

 private:
  explicit DatasetWriter(WriterOptions options);
  absl::Status FlushShard();

  WriterOptions options_;
  UniqueFd folder_lock_;
  Manifest manifest_;
  ShardWriter shard_;
  absl::flat_hash_set<uint64_t> seen_;  // hashes of the utterances' names
  int64_t utterances_ = 0;
  int64_t frames_ = 0;
  bool finished_ = false;
};

}  // namespace data
