#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "data/front_end.h"

namespace data {

// How frames are stored on disk. In memory they are always float32.
enum class DType { kFloat32, kFloat16 };

const char* DTypeName(DType dtype);  // "float32", "float16"
absl::StatusOr<DType> ParseDType(const std::string& name);
int64_t DTypeBytes(DType dtype);

// Half-open range of global utterance indexes.
struct Range {
  int64_t begin = 0;
  int64_t end = 0;
  bool operator==(const Range&) const = default;
};

// Sorted, disjoint, non-empty, non-adjacent ranges.
using Ranges = std::vector<Range>;

// Adds `index`, larger than all before it.
void AppendIndex(Ranges& ranges, int64_t index);
int64_t CountIndexes(const Ranges& ranges);

struct ShardInfo {
  int64_t utterances = 0;
  int64_t frames = 0;
  int64_t bytes = 0;             // the file's size
  int64_t frames_offset = 0;     // where in the file the frames begin
  uint64_t checksum = 0;         // of the index: offsets, speakers, names and each utterance's checksum
  uint64_t layout_checksum = 0;  // of every byte of the file but the frames
};

// dataset.json: everything about a data set but its utterances. FORMAT.md describes the file.
struct Manifest {
  FrontEnd front_end;
  DType dtype = DType::kFloat32;
  std::vector<std::string> speakers;
  std::vector<double> speeds;  // of the copies among the speakers (data/speed_copies.h); mostly none
  std::map<std::string, Ranges> splits;
  std::vector<ShardInfo> shards;

  int64_t utterances() const;
  int64_t frames() const;
};

// The shards that hold utterances of any of `splits`, ascending. Names that are no split do not count.
std::vector<int64_t> ShardsOf(const Manifest& manifest, const std::vector<std::string>& splits);

std::string ManifestPath(const std::string& folder);
std::string UnfinishedPath(const std::string& folder);  // the mark of an unfinished data set
std::string ShardName(int64_t shard);                   // "shard-00007.h5"

// kNotFound: no such folder, or no dataset.json in it. kInvalidArgument: a schema this program does not know.
// kDataLoss: not JSON, or a key missing, mistyped or impossible (named). What it returns is consistent in
// itself.
absl::StatusOr<Manifest> LoadManifest(const std::string& folder);

// Writes dataset.json atomically and durably. `temporary`: the path, in the same folder, under which it is
// written before it is renamed; empty: dataset.json.tmp.
absl::Status SaveManifest(const std::string& folder, const Manifest& manifest,
                          const std::string& temporary = "");

}  // namespace data
