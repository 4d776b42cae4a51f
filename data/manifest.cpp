#include "data/manifest.h"

#include <algorithm>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "data/files.h"
#include "data/json_fields.h"
#include "data/shard_format.h"
#include "data/split.h"
#include "data/status_macros.h"

namespace data {
namespace {

using nlohmann::json;

// Checksums are hexadecimal strings: JSON readers keep only 53 bits of a number.
std::string Hex(uint64_t value) { return absl::StrFormat("%016x", value); }

absl::StatusOr<uint64_t> JsonHex(const json& object, const std::string& key) {
  ASSIGN_OR_RETURN(const std::string text, JsonString(object, key));
  uint64_t value = 0;
  if (text.size() != 16 || !absl::SimpleHexAtoi(text, &value)) {
    return absl::InvalidArgumentError(absl::StrCat("'", key, "' is not 16 hexadecimal digits"));
  }
  return value;
}

absl::StatusOr<ShardInfo> ParseShard(const json& object, int64_t index, int64_t frame_bytes) {
  ASSIGN_OR_RETURN(const std::string file, JsonString(object, "file"));
  if (file != ShardName(index))
    return absl::InvalidArgumentError(absl::StrCat("'file' is not ", ShardName(index)));
  ShardInfo shard;
  // The bounds keep all sums and products below 2^63.
  constexpr int64_t kMost = int64_t{1} << 40;
  ASSIGN_OR_RETURN(shard.utterances, JsonInt(object, "utterances", 1, kMost));
  ASSIGN_OR_RETURN(shard.frames, JsonInt(object, "frames", shard.utterances, kMost));
  ASSIGN_OR_RETURN(shard.bytes, JsonInt(object, "bytes", 1, kMost * 64));
  ASSIGN_OR_RETURN(shard.frames_offset, JsonInt(object, "frames_offset", kUserBlockBytes, shard.bytes));
  ASSIGN_OR_RETURN(shard.checksum, JsonHex(object, "checksum"));
  ASSIGN_OR_RETURN(shard.layout_checksum, JsonHex(object, "layout_checksum"));
  if (shard.frames > (shard.bytes - shard.frames_offset) / frame_bytes) {
    return absl::InvalidArgumentError(absl::StrCat("'bytes' is too small for ", shard.frames, " frames"));
  }
  return shard;
}

absl::StatusOr<Ranges> ParseRanges(const json& list, int64_t utterances) {
  if (!list.is_array()) return absl::InvalidArgumentError("not a list of ranges");
  Ranges ranges;
  ranges.reserve(list.size());
  int64_t last = -1;
  for (const json& item : list) {
    const bool pair =
        item.is_array() && item.size() == 2 && item[0].is_number_unsigned() && item[1].is_number_unsigned();
    if (!pair) return absl::InvalidArgumentError("a range is not a pair [begin, end) of counts");
    const uint64_t begin = item[0].get<uint64_t>(), end = item[1].get<uint64_t>();
    if (begin >= end || end > static_cast<uint64_t>(utterances) || static_cast<int64_t>(begin) <= last) {
      return absl::InvalidArgumentError(absl::StrCat(
          "range [", begin, ", ", end, ") is empty, out of order or beyond the ", utterances, " utterances"));
    }
    ranges.push_back({static_cast<int64_t>(begin), static_cast<int64_t>(end)});
    last = static_cast<int64_t>(end);
  }
  return ranges;
}

absl::StatusOr<std::vector<double>> ParseSpeedList(const json& list) {
  const auto is_speed = [](const json& speed) {
    return speed.is_number() && speed.get<double>() > 0.5 && speed.get<double>() < 2;
  };
  if (!list.is_array() || !std::all_of(list.begin(), list.end(), is_speed)) {
    return absl::InvalidArgumentError("'speeds' is not a list of factors between 0.5 and 2");
  }
  return list.get<std::vector<double>>();
}

absl::StatusOr<Manifest> ParseManifest(const json& root) {
  Manifest manifest;
  ASSIGN_OR_RETURN(const json* front_end, JsonField(root, "front_end"));
  ASSIGN_OR_RETURN(manifest.front_end, FrontEndFromJson(*front_end));
  ASSIGN_OR_RETURN(const int64_t n_mels, JsonInt(root, "n_mels"));
  if (n_mels != manifest.front_end.n_mels) {
    return absl::InvalidArgumentError("'n_mels' is not the one of 'front_end'");
  }
  ASSIGN_OR_RETURN(const std::string dtype, JsonString(root, "dtype"));
  ASSIGN_OR_RETURN(manifest.dtype, ParseDType(dtype));

  ASSIGN_OR_RETURN(const json* speakers, JsonField(root, "speakers"));
  if (!speakers->is_array() || speakers->size() > std::numeric_limits<int32_t>::max()) {
    return absl::InvalidArgumentError("'speakers' is not a list");
  }
  absl::flat_hash_set<std::string> unique;
  for (const json& speaker : *speakers) {
    if (!speaker.is_string() || speaker.get<std::string>().empty()) {
      return absl::InvalidArgumentError("'speakers' holds something that is not a name");
    }
    manifest.speakers.push_back(speaker.get<std::string>());
    if (!unique.insert(manifest.speakers.back()).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("'speakers' names '", manifest.speakers.back(), "' twice"));
    }
  }

  if (root.contains("speeds")) {
    ASSIGN_OR_RETURN(manifest.speeds, ParseSpeedList(root["speeds"]));
  }

  ASSIGN_OR_RETURN(const json* shards, JsonField(root, "shards"));
  if (!shards->is_array() || shards->empty())
    return absl::InvalidArgumentError("'shards' is not a list, or empty");
  const int64_t frame_bytes = n_mels * DTypeBytes(manifest.dtype);
  for (const json& object : *shards) {
    const int64_t index = static_cast<int64_t>(manifest.shards.size());
    absl::StatusOr<ShardInfo> shard = ParseShard(object, index, frame_bytes);
    if (!shard.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("shards[", index, "]: ", shard.status().message()));
    }
    manifest.shards.push_back(*shard);
    // Every sum of counts stays below 2^63, whatever the list's length.
    if (manifest.frames() > int64_t{1} << 50) return absl::InvalidArgumentError("'shards': too many frames");
  }
  ASSIGN_OR_RETURN(const int64_t utterances, JsonInt(root, "utterances"));
  ASSIGN_OR_RETURN(const int64_t frames, JsonInt(root, "frames"));
  if (utterances != manifest.utterances() || frames != manifest.frames()) {
    return absl::InvalidArgumentError("'utterances' or 'frames' is not the sum over 'shards'");
  }

  ASSIGN_OR_RETURN(const json* splits, JsonField(root, "splits"));
  if (!splits->is_object()) return absl::InvalidArgumentError("'splits' is not an object");
  for (const auto& [name, list] : splits->items()) {
    if (!IsSplitName(name)) return absl::InvalidArgumentError("'splits' holds a name that no split can have");
    absl::StatusOr<Ranges> ranges = ParseRanges(list, utterances);
    if (!ranges.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("splits.", name, ": ", ranges.status().message()));
    }
    manifest.splits[name] = *std::move(ranges);
  }
  return manifest;
}

}  // namespace

const char* DTypeName(DType dtype) { return dtype == DType::kFloat32 ? "float32" : "float16"; }

absl::StatusOr<DType> ParseDType(const std::string& name) {
  if (name == "float32") return DType::kFloat32;
  if (name == "float16") return DType::kFloat16;
  return absl::InvalidArgumentError(absl::StrCat("dtype '", name, "' is neither float32 nor float16"));
}

int64_t DTypeBytes(DType dtype) { return dtype == DType::kFloat32 ? 4 : 2; }

void AppendIndex(Ranges& ranges, int64_t index) {
  if (!ranges.empty() && ranges.back().end == index) {
    ++ranges.back().end;
  } else {
    ranges.push_back({index, index + 1});
  }
}

int64_t CountIndexes(const Ranges& ranges) {
  int64_t count = 0;
  for (const Range& range : ranges) count += range.end - range.begin;
  return count;
}

int64_t Manifest::utterances() const {
  int64_t sum = 0;
  for (const ShardInfo& shard : shards) sum += shard.utterances;
  return sum;
}

int64_t Manifest::frames() const {
  int64_t sum = 0;
  for (const ShardInfo& shard : shards) sum += shard.frames;
  return sum;
}

std::vector<int64_t> ShardsOf(const Manifest& manifest, const std::vector<std::string>& splits) {
  std::vector<int64_t> shards;
  int64_t begin = 0;
  for (size_t shard = 0; shard < manifest.shards.size(); ++shard) {
    const int64_t end = begin + manifest.shards[shard].utterances;
    const bool is_one = std::any_of(splits.begin(), splits.end(), [&](const std::string& name) {
      const auto split = manifest.splits.find(name);
      return split != manifest.splits.end() &&
             std::any_of(split->second.begin(), split->second.end(),
                         [&](const Range& range) { return range.begin < end && range.end > begin; });
    });
    if (is_one) shards.push_back(static_cast<int64_t>(shard));
    begin = end;
  }
  return shards;
}

std::string ManifestPath(const std::string& folder) {
  return (std::filesystem::path(folder) / kManifestName).string();
}

std::string UnfinishedPath(const std::string& folder) {
  return (std::filesystem::path(folder) / kUnfinishedName).string();
}

std::string ShardName(int64_t shard) { return absl::StrFormat("shard-%05d.h5", shard); }

absl::StatusOr<Manifest> LoadManifest(const std::string& folder) {
  const std::string path = ManifestPath(folder);
  absl::StatusOr<std::string> content = ReadFile(path);
  if (absl::IsNotFound(content.status())) {
    std::error_code error;
    if (!std::filesystem::is_directory(folder, error)) {
      return absl::NotFoundError(
          absl::StrCat("no data set at ", folder, ": there is no such folder; check the path"));
    }
    return absl::NotFoundError(absl::StrCat(folder, " is not a data set: it has no ", kManifestName,
                                            " (an unfinished mels leaves none: run it again)"));
  }
  if (!content.ok()) return content.status();
  const json root = json::parse(*content, nullptr, /*allow_exceptions=*/false);
  if (root.is_discarded())
    return absl::DataLossError(
        absl::StrCat(path, " is damaged: it is not JSON; restore it or make the data set anew"));
  const auto format = JsonString(root, "format");
  if (!format.ok() || *format != kManifestFormat) {
    return absl::DataLossError(
        absl::StrCat(path, " is not the manifest of a data set: 'format' is not ", kManifestFormat));
  }
  const auto version = JsonInt(root, "schema_version");
  if (version.ok() && *version != kSchemaVersion) {
    return absl::InvalidArgumentError(absl::StrCat(path, " has schema version ", *version,
                                                   ", this program reads ", kSchemaVersion,
                                                   ": make the data set anew or use a matching mels"));
  }
  absl::StatusOr<Manifest> manifest = version.ok() ? ParseManifest(root) : version.status();
  if (!manifest.ok()) {
    return absl::DataLossError(absl::StrCat(path, " is damaged: ", manifest.status().message(),
                                            "; restore it or make the data set anew"));
  }
  return manifest;
}

absl::Status SaveManifest(const std::string& folder, const Manifest& manifest, const std::string& temporary) {
  json shards = json::array();
  for (size_t i = 0; i < manifest.shards.size(); ++i) {
    const ShardInfo& shard = manifest.shards[i];
    shards.push_back({{"file", ShardName(static_cast<int64_t>(i))},
                      {"utterances", shard.utterances},
                      {"frames", shard.frames},
                      {"bytes", shard.bytes},
                      {"frames_offset", shard.frames_offset},
                      {"checksum", Hex(shard.checksum)},
                      {"layout_checksum", Hex(shard.layout_checksum)}});
  }
  json splits = json::object();
  for (const auto& [name, ranges] : manifest.splits) {
    json& list = splits[name] = json::array();
    for (const Range& range : ranges) list.push_back({range.begin, range.end});
  }
  std::vector<std::pair<std::string, json>> fields = {
      {"format", kManifestFormat},
      {"schema_version", kSchemaVersion},
      {"n_mels", manifest.front_end.n_mels},
      {"dtype", DTypeName(manifest.dtype)},
      {"utterances", manifest.utterances()},
      {"frames", manifest.frames()},
      {"front_end", FrontEndToJson(manifest.front_end)},
      {"speakers", manifest.speakers},
      {"splits", splits},
      {"shards", shards},
  };
  if (!manifest.speeds.empty()) fields.emplace_back("speeds", manifest.speeds);
  // A line a field: readable, and small where a list is long.
  std::string text = "{";
  for (const auto& [key, value] : fields) {
    absl::StrAppend(&text, text.size() == 1 ? "\n" : ",\n", "  \"", key, "\": ", value.dump());
  }
  absl::StrAppend(&text, "\n}\n");
  return WriteFileAtomically(ManifestPath(folder), text, temporary);
}

}  // namespace data
