#include "data/leftovers.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "data/files.h"
#include "data/json_fields.h"
#include "data/manifest.h"
#include "data/shard_format.h"
#include "data/status_macros.h"

namespace data {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kTemporary = ".tmp";

enum class Name { kOther, kLikeAShard, kTemporaryShard, kShard };

Name Classify(std::string_view name) {
  const bool temporary = name.ends_with(kTemporary);
  if (temporary) name.remove_suffix(kTemporary.size());
  constexpr std::string_view kPrefix = "shard-";
  constexpr std::string_view kSuffix = ".h5";
  if (name.size() < kPrefix.size() + kSuffix.size() || !name.starts_with(kPrefix) || !name.ends_with(kSuffix))
    return Name::kOther;
  int64_t number = -1;
  std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), number);
  if (number < 0 || ShardName(number) != name) return Name::kLikeAShard;
  return temporary ? Name::kTemporaryShard : Name::kShard;
}

// Whether the file begins as a shard does: with our line of JSON and zeros up to the superblock. A temporary
// file that was left early has nothing there yet but zeros, as far as it goes.
bool HasOurUserBlock(const fs::path& path, bool may_be_blank) {
  std::error_code error;
  if (fs::symlink_status(path, error).type() != fs::file_type::regular) return false;
  const absl::StatusOr<UniqueFd> fd = OpenForRead(path.string());
  if (!fd.ok()) return false;
  const absl::StatusOr<int64_t> size = FileSize(*fd, path.string());
  if (!size.ok()) return false;
  std::array<char, kUserBlockBytes> block{};
  const int64_t count = std::min(*size, kUserBlockBytes);
  if (!PreadAll(fd->get(), block.data(), static_cast<size_t>(count), 0, path.string()).ok()) return false;
  const auto blank = [](char byte) { return byte == '\0'; };
  const auto end = std::find(block.begin(), block.end(), '\n');
  if (end == block.end()) return may_be_blank && std::all_of(block.begin(), block.end(), blank);
  if (count < kUserBlockBytes || !std::all_of(end + 1, block.end(), blank)) return false;
  const auto json = nlohmann::json::parse(block.begin(), end, nullptr, /*allow_exceptions=*/false);
  const absl::StatusOr<std::string> format = JsonString(json, "format");
  return format.ok() && *format == kShardFormat;
}

struct Survey {
  std::vector<fs::path> ours;       // shards and temporary shards that this program wrote
  std::vector<fs::path> in_way;     // of others, under names that a writer takes
  std::vector<fs::path> confusing;  // of others, under names that only look so
};

// `marked`: the folder bears the mark of an unfinished data set, so that a blank temporary shard is ours.
absl::StatusOr<Survey> SurveyFolder(const std::string& folder, bool marked) {
  Survey survey;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    const fs::path& path = entry->path();
    const Name name = Classify(path.filename().string());
    if (name == Name::kOther) continue;
    if (name == Name::kLikeAShard) {
      survey.confusing.push_back(path);
    } else if (HasOurUserBlock(path, /*may_be_blank=*/marked && name == Name::kTemporaryShard)) {
      survey.ours.push_back(path);
    } else {
      survey.in_way.push_back(path);
    }
  }
  if (error) return ErrnoStatus(error.value(), "cannot list", folder);
  for (auto* paths : {&survey.ours, &survey.in_way, &survey.confusing})
    std::sort(paths->begin(), paths->end());
  return survey;
}

absl::Status Remove(const fs::path& path) {
  std::error_code error;
  fs::remove(path, error);
  return error ? ErrnoStatus(error.value(), "cannot remove", path.string()) : absl::OkStatus();
}

// With the mark a folder stops to be a data set, in one step: dataset.json becomes the mark where there is
// one.
absl::Status Mark(const std::string& folder) {
  const std::string mark = UnfinishedPath(folder);
  if (rename(ManifestPath(folder).c_str(), mark.c_str()) == 0) return SyncFolder(folder);
  if (errno != ENOENT) return ErrnoStatus(errno, "cannot rename to", mark);
  return WriteFileAtomically(mark, "A data set is being written here, or its writer was stopped.\n");
}

}  // namespace

absl::Status PrepareFolder(const std::string& folder, bool overwrite) {
  std::error_code error;
  const bool complete = fs::exists(ManifestPath(folder), error);
  if (complete && !overwrite) {
    return absl::AlreadyExistsError(
        absl::StrCat(folder, " already holds a data set: choose another folder, or replace it with --force"));
  }
  const bool marked = !complete && fs::exists(UnfinishedPath(folder), error);
  ASSIGN_OR_RETURN(const Survey survey, SurveyFolder(folder, marked));
  if (!survey.in_way.empty()) {
    return absl::AlreadyExistsError(
        absl::StrCat(survey.in_way[0].string(),
                     " is in the way, and no shard that mels wrote: choose another folder, or move it away"));
  }
  if (!survey.confusing.empty() && !overwrite) {
    return absl::AlreadyExistsError(
        absl::StrCat(survey.confusing[0].string(),
                     " would lie among the shards, but mels did not write it: choose another folder, or "
                     "leave it there with --force"));
  }
  if (!survey.ours.empty() && !marked && !overwrite) {
    return absl::AlreadyExistsError(absl::StrCat(survey.ours[0].string(),
                                                 " belongs to a data set that has lost its ", kManifestName,
                                                 ": choose another folder, or give it up with --force"));
  }
  RETURN_IF_ERROR(Mark(folder));
  for (const fs::path& path : survey.ours) RETURN_IF_ERROR(Remove(path));
  return absl::OkStatus();
}

absl::Status RemoveUnfinished(const std::string& folder) {
  RETURN_IF_ERROR(Remove(ManifestPath(folder)));
  ASSIGN_OR_RETURN(const Survey survey, SurveyFolder(folder, /*marked=*/true));
  for (const fs::path& path : survey.ours) RETURN_IF_ERROR(Remove(path));
  return Remove(UnfinishedPath(folder));
}

}  // namespace data
