#include "data/hw4_import.h"

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <unordered_set>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "data/files.h"
#include "data/pt_file.h"
#include "data/status_macros.h"

namespace data {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int64_t kMaxMels = 4096;

// A JSON file together with its path, which every message about it begins with.
class JsonFile {
 public:
  static absl::StatusOr<JsonFile> Load(const std::string& folder, const char* name) {
    JsonFile file;
    file.path_ = (fs::path(folder) / name).string();
    if (std::error_code error; !fs::exists(file.path_, error)) {
      return absl::NotFoundError(absl::StrCat(file.path_,
                                              ": no such file; a HW4 folder holds mapping.json, "
                                              "metadata.json, testdata.json and uttr-*.pt"));
    }
    ASSIGN_OR_RETURN(const std::string text, ReadFile(file.path_));
    try {
      file.root_ = json::parse(text);
    } catch (const json::exception& error) {
      std::string reason = error.what();  // "[json.exception.parse_error.101] parse error at line 3, ..."
      if (const size_t tag = reason.find("] "); tag != std::string::npos) reason.erase(0, tag + 2);
      return file.Error(absl::StrCat("is not JSON: ", reason));
    }
    if (!file.root_.is_object()) return file.Error("is not a JSON object");
    return file;
  }

  const std::string& path() const { return path_; }
  absl::Status Error(const std::string& what) const {
    return absl::InvalidArgumentError(absl::StrCat(path_, ": ", what));
  }

  absl::StatusOr<const json*> Object(const char* key) const {
    const auto found = root_.find(key);
    if (found == root_.end() || !found->is_object())
      return Error(absl::StrCat("'", key, "' is missing, or no object"));
    return &*found;
  }

  absl::StatusOr<const json*> Array(const char* key) const {
    const auto found = root_.find(key);
    if (found == root_.end() || !found->is_array())
      return Error(absl::StrCat("'", key, "' is missing, or no list"));
    return &*found;
  }

  absl::StatusOr<int> NMels() const {
    const auto found = root_.find("n_mels");
    if (found == root_.end() || !found->is_number_integer() || *found < 1 || *found > kMaxMels) {
      return Error(absl::StrCat("'n_mels' is missing, or no integer from 1 to ", kMaxMels));
    }
    return found->get<int>();
  }

 private:
  std::string path_;
  json root_;
};

// Names of the speakers in the order of their indexes, which are 0, 1, 2, ...
absl::StatusOr<std::vector<std::string>> ReadSpeakers(const JsonFile& mapping) {
  ASSIGN_OR_RETURN(const json* ids, mapping.Object("speaker2id"));
  if (ids->empty()) return mapping.Error("'speaker2id' holds no speaker");
  const auto count = static_cast<int64_t>(ids->size());
  std::vector<std::string> speakers(ids->size());
  for (const auto& [name, id] : ids->items()) {
    if (name.empty()) return mapping.Error("'speaker2id' has a speaker without a name");
    if (!id.is_number_integer() || id < 0 || id >= count) {
      return mapping.Error(
          absl::StrCat("speaker '", name, "': the index ", id.dump(), " is not one of 0 to ", count - 1));
    }
    std::string& place = speakers[id.get<size_t>()];
    if (!place.empty()) {
      return mapping.Error(
          absl::StrCat("speakers '", place, "' and '", name, "' have the same index ", id.dump()));
    }
    place = name;
  }
  return speakers;
}

// Reads the utterances in one JSON list. Paths must lead to a file below the folder, each only once.
class ItemReader {
 public:
  ItemReader(std::string folder, std::vector<IngestItem>* items)
      : folder_(std::move(folder)), items_(items) {}

  absl::Status Read(const JsonFile& file, const std::string& where, const json& utterances, int32_t speaker,
                    const char* split) {
    if (!utterances.is_array()) return file.Error(absl::StrCat(where, ": is no list of utterances"));
    for (size_t i = 0; i < utterances.size(); ++i) {
      const json& entry = utterances[i];
      const auto error = [&](const std::string& what) {
        return file.Error(absl::StrCat(where, ", utterance ", i, " (from 0): ", what));
      };
      if (!entry.is_object()) return error("is no object");
      const auto path = entry.find("feature_path");
      if (path == entry.end() || !path->is_string()) return error("'feature_path' is missing, or no string");
      const auto length = entry.find("mel_len");
      if (length == entry.end() || !length->is_number_integer() || *length < 1 || *length > INT32_MAX) {
        return error("'mel_len' is missing, or no positive integer");
      }
      const auto name = path->get<std::string>();
      if (!IsInside(name)) return error(absl::StrCat("'", name, "' does not lie in the HW4 folder"));
      if (!seen_.insert(name).second) return error(absl::StrCat("'", name, "' is listed twice"));
      items_->push_back({.path = (fs::path(folder_) / name).string(),
                         .name = name,
                         .speaker = speaker,
                         .split = split,
                         .frames = length->get<int64_t>()});
    }
    return absl::OkStatus();
  }

 private:
  static bool IsInside(const std::string& name) {
    const fs::path path(name);
    if (name.empty() || path.is_absolute() || absl::StrContains(name, std::string(1, '\0'))) return false;
    for (const fs::path& part : path) {
      if (part == "..") return false;
    }
    return true;
  }

  const std::string folder_;
  std::vector<IngestItem>* items_;
  std::unordered_set<std::string> seen_;
};

}  // namespace

absl::StatusOr<Hw4List> ListHw4(const std::string& folder) {
  ASSIGN_OR_RETURN(const JsonFile mapping, JsonFile::Load(folder, "mapping.json"));
  ASSIGN_OR_RETURN(const JsonFile metadata, JsonFile::Load(folder, "metadata.json"));
  ASSIGN_OR_RETURN(const JsonFile testdata, JsonFile::Load(folder, "testdata.json"));

  Hw4List result;
  ASSIGN_OR_RETURN(result.n_mels, metadata.NMels());
  ASSIGN_OR_RETURN(const int test_n_mels, testdata.NMels());
  if (test_n_mels != result.n_mels) {
    return testdata.Error(
        absl::StrCat("n_mels is ", test_n_mels, ", in metadata.json it is ", result.n_mels));
  }
  IngestList& list = result.list;
  ASSIGN_OR_RETURN(list.speakers, ReadSpeakers(mapping));
  ASSIGN_OR_RETURN(const json* by_speaker, metadata.Object("speakers"));
  const std::unordered_set<std::string> known(list.speakers.begin(), list.speakers.end());
  for (const auto& [name, utterances] : by_speaker->items()) {
    if (!known.contains(name)) {
      return metadata.Error(absl::StrCat("speaker '", name, "' is not in ", mapping.path()));
    }
  }
  ItemReader reader(folder, &list.items);
  for (size_t speaker = 0; speaker < list.speakers.size(); ++speaker) {
    const std::string& name = list.speakers[speaker];
    const auto utterances = by_speaker->find(name);
    if (utterances == by_speaker->end() || utterances->empty()) {
      return metadata.Error(absl::StrCat("speaker '", name, "' of mapping.json has no utterances"));
    }
    RETURN_IF_ERROR(reader.Read(metadata, absl::StrCat("speaker '", name, "'"), *utterances,
                                static_cast<int32_t>(speaker), "train"));
  }
  ASSIGN_OR_RETURN(const json* tests, testdata.Array("utterances"));
  RETURN_IF_ERROR(reader.Read(testdata, "'utterances'", *tests, -1, "test"));
  return result;
}

absl::StatusOr<Features> ReadHw4Features(const IngestItem& item, int n_mels) {
  ASSIGN_OR_RETURN(PtMatrix matrix, ReadPtMatrix(item.path));
  if (matrix.rows != item.frames || matrix.columns != n_mels) {
    return absl::InvalidArgumentError(absl::StrCat("has the shape (", matrix.rows, ", ", matrix.columns,
                                                   "); the JSON files say (", item.frames, ", ", n_mels,
                                                   ")"));
  }
  for (size_t i = 0; i < matrix.values.size(); ++i) {
    if (!std::isfinite(matrix.values[i])) {
      return absl::DataLossError(
          absl::StrCat("frame ", i / static_cast<size_t>(n_mels), " holds ", matrix.values[i]));
    }
  }
  const double seconds = static_cast<double>(matrix.rows) / FrontEnd().frames_per_second();
  return Features{std::move(matrix.values), seconds};
}

absl::StatusOr<IngestSummary> ImportHw4(const std::string& source, const IngestOptions& ingest) {
  ASSIGN_OR_RETURN(Hw4List hw4, ListHw4(source));
  FrontEnd front_end;  // HW4's settings are the defaults; what its makers did with sox is recorded with them
  front_end.source = "hw4";
  front_end.n_mels = hw4.n_mels;
  front_end.trim_silence = true;
  front_end.normalize_db = -3.0;
  const ReadFeatures read = [&](const IngestItem& item) { return ReadHw4Features(item, hw4.n_mels); };
  RETURN_IF_ERROR(DealSplits(ingest, &hw4.list));
  return Ingest(std::move(hw4.list), read, front_end, ingest);
}

}  // namespace data
