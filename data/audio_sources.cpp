#include "data/audio_sources.h"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <system_error>
#include <unordered_map>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "data/audio_reader.h"
#include "data/csv.h"
#include "data/files.h"
#include "data/split.h"
#include "data/status_macros.h"

namespace data {
namespace {

namespace fs = std::filesystem;

absl::Status FolderError(const fs::path& folder, const std::error_code& error) {
  return absl::InvalidArgumentError(absl::StrCat(folder.string(), ": cannot be listed: ", error.message()));
}

// Names go into dataset.json, which is UTF-8. The shape of the sequences is checked; overlong forms and
// surrogates are no file system's or editor's accident, and left to the JSON writer to refuse.
bool IsUtf8(const std::string& text) {
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    size_t length = 0;
    if (lead < 0x80) {
      length = 1;
    } else if (lead >= 0xc2 && lead < 0xf5) {
      length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    }
    if (length == 0 || length > text.size() - i) return false;
    for (size_t k = 1; k < length; ++k) {
      if ((static_cast<unsigned char>(text[i + k]) & 0xc0) != 0x80) return false;
    }
    i += length;
  }
  return true;
}

bool IsHidden(const fs::path& path) { return path.filename().string().starts_with('.'); }

// Recordings anywhere below `folder`, sorted.
absl::StatusOr<std::vector<fs::path>> RecordingsBelow(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code error;
  fs::recursive_directory_iterator walk(folder, fs::directory_options::follow_directory_symlink, error);
  for (; !error && walk != fs::recursive_directory_iterator(); walk.increment(error)) {
    std::error_code ignored;  // what cannot be asked for its type is met again, and named, when it is read
    const bool is_folder = walk->is_directory(ignored);
    if (IsHidden(walk->path())) {
      if (is_folder) walk.disable_recursion_pending();
    } else if (!is_folder && HasAudioExtension(walk->path().string())) {
      found.push_back(walk->path());
    }
    // Deeper than real trees are, and less deep than the 40 links after which the kernel pretends there is
    // nothing.
    if (walk.depth() > 32) {
      return absl::InvalidArgumentError(
          absl::StrCat(folder.string(), ": nested too deeply; does a link in it lead back up?"));
    }
  }
  if (error) return FolderError(folder, error);
  std::sort(found.begin(), found.end());
  return found;
}

absl::StatusOr<IngestList> ListTree(const fs::path& root, bool allow_empty) {
  std::set<std::string> speakers;  // sorted
  std::error_code error;
  fs::directory_iterator entries(root, error);
  for (; !error && entries != fs::directory_iterator(); entries.increment(error)) {
    if (IsHidden(entries->path())) continue;
    if (fs::is_directory(entries->path(), error)) {
      speakers.insert(entries->path().filename().string());
    } else if (HasAudioExtension(entries->path().string())) {
      return absl::InvalidArgumentError(absl::StrCat(entries->path().string(),
                                                     ": lies in no speaker's folder; the layout is ",
                                                     root.string(), "/<speaker>/<recording>"));
    }
  }
  if (error) return FolderError(root, error);

  IngestList list;
  for (const std::string& speaker : speakers) {
    ASSIGN_OR_RETURN(const std::vector<fs::path> recordings, RecordingsBelow(root / speaker));
    if (recordings.empty()) {
      if (allow_empty) continue;
      return absl::InvalidArgumentError(
          absl::StrCat((root / speaker).string(),
                       ": a speaker without recordings (flac, wav, ogg, mp3); remove the "
                       "folder, or pass --skip-bad"));
    }
    for (const fs::path& path : recordings) {
      if (!IsUtf8(path.lexically_relative(root).string())) {
        return absl::InvalidArgumentError(
            absl::StrCat("\"", absl::CHexEscape(path.string()), "\": the name is not UTF-8; rename it"));
      }
      list.items.push_back({.path = path.string(),
                            .name = path.lexically_relative(root).generic_string(),
                            .speaker = static_cast<int32_t>(list.speakers.size()),
                            .split = kTrainSplit});
    }
    list.speakers.push_back(speaker);
  }
  if (list.items.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(root.string(), ": no recordings; the layout is ",
                                                   root.string(),
                                                   "/<speaker>/<recording>.{flac,wav,ogg,mp3}"));
  }
  return list;
}

// Where the columns we use stand in the header; -1: not there.
struct Columns {
  int path = -1;
  int speaker = -1;
  int split = -1;
};

absl::StatusOr<Columns> FindColumns(const CsvRow& header) {
  Columns columns;
  const std::pair<const char*, int*> wanted[] = {
      {"path", &columns.path}, {"speaker", &columns.speaker}, {"split", &columns.split}};
  for (const auto& [name, column] : wanted) {
    for (size_t i = 0; i < header.fields.size(); ++i) {
      if (header.fields[i] != name) continue;
      if (*column >= 0) {
        return absl::InvalidArgumentError(
            absl::StrCat("line ", header.line, ": two columns are called '", name, "'"));
      }
      *column = static_cast<int>(i);
    }
  }
  for (const auto& [name, column] : wanted) {
    if (*column < 0 && column != &columns.split) {
      return absl::InvalidArgumentError(
          absl::StrCat("line ", header.line, ": no column '", name,
                       "'; the header has: ", absl::StrJoin(header.fields, ", ")));
    }
  }
  return columns;
}

absl::StatusOr<IngestList> ListCsvRows(const std::vector<CsvRow>& rows, const fs::path& folder) {
  if (rows.empty())
    return absl::InvalidArgumentError("is empty; the first line names the columns: path,speaker");
  ASSIGN_OR_RETURN(const Columns columns, FindColumns(rows.front()));
  std::map<std::string, std::vector<IngestItem>> by_speaker;  // sorted
  std::unordered_map<std::string, int64_t> lines;             // of each utterance's name
  for (size_t i = 1; i < rows.size(); ++i) {
    const CsvRow& row = rows[i];
    if (!IsUtf8(absl::StrJoin(row.fields, ","))) {
      return absl::InvalidArgumentError(absl::StrCat("line ", row.line, ": is not UTF-8"));
    }
    const auto error = [&row](const std::string& what) {
      return absl::InvalidArgumentError(absl::StrCat("line ", row.line, ": ", what));
    };
    const std::string& path = row.fields[static_cast<size_t>(columns.path)];
    const std::string& speaker = row.fields[static_cast<size_t>(columns.speaker)];
    const std::string split =
        columns.split < 0 ? kTrainSplit : row.fields[static_cast<size_t>(columns.split)];
    if (path.empty()) return error("the path is empty");
    if (speaker.empty()) return error("the speaker is empty");
    if (!IsSplitName(split)) {
      return error(absl::StrCat("'", split, "' cannot name a split; use letters, digits, '.', '_' and '-'"));
    }
    const std::string name = fs::path(path).lexically_normal().generic_string();
    if (const auto [first, is_new] = lines.emplace(name, row.line); !is_new) {
      return error(absl::StrCat("'", path, "' stands in line ", first->second, " already"));
    }
    by_speaker[speaker].push_back({.path = (folder / path).string(), .name = name, .split = split});
  }
  IngestList list;
  for (auto& [speaker, items] : by_speaker) {
    for (IngestItem& item : items) {
      item.speaker = static_cast<int32_t>(list.speakers.size());
      list.items.push_back(std::move(item));
    }
    list.speakers.push_back(speaker);
  }
  if (list.items.empty()) return absl::InvalidArgumentError("has a header, but no rows");
  return list;
}

absl::StatusOr<IngestList> ListCsv(const fs::path& csv) {
  if (HasAudioExtension(csv.string())) {
    return absl::InvalidArgumentError(
        absl::StrCat(csv.string(), ": is one recording; give a folder of <speaker>/<recording>, or a CSV"));
  }
  ASSIGN_OR_RETURN(const std::string text, ReadFile(csv.string()));
  absl::StatusOr<std::vector<CsvRow>> rows = ParseCsv(text);
  absl::StatusOr<IngestList> list =
      rows.ok() ? ListCsvRows(*rows, csv.parent_path()) : absl::StatusOr<IngestList>(rows.status());
  if (list.ok()) return list;
  return absl::Status(list.status().code(),
                      absl::StrCat(csv.string(), ": ", std::string(list.status().message())));
}

}  // namespace

absl::StatusOr<IngestList> ListRecordings(const std::string& source, bool allow_empty) {
  std::error_code error;
  const fs::file_status status = fs::status(source, error);
  if (status.type() == fs::file_type::not_found) {
    return absl::NotFoundError(absl::StrCat(source, ": no such file or folder"));
  }
  if (error) return FolderError(source, error);
  // "speech/" and "speech" are the same folder, and messages should show it the same way.
  fs::path path = fs::path(source).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();
  return fs::is_directory(status) ? ListTree(path, allow_empty) : ListCsv(path);
}

}  // namespace data
