#include "trainer/report/evaluation_reader.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <system_error>
#include <unordered_map>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "data/csv.h"
#include "data/files.h"
#include "data/status_macros.h"
#include "trainer/report/shallow_json.h"

namespace trainer::report {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// With more columns than rows (copies at other speeds, a model of many speakers) the table of few speakers
// may be long as well.
constexpr std::uintmax_t kLargestMatrixBytes = 16 << 20;

absl::Status Damaged(const std::string& path, const std::string& why) {
  return absl::DataLossError(absl::StrCat(path, " is damaged: ", why));
}

absl::StatusOr<std::vector<data::CsvRow>> ReadTable(const std::string& path) {
  ASSIGN_OR_RETURN(const auto text, data::ReadFile(path));
  auto rows = data::ParseCsv(text);
  if (!rows.ok()) return Damaged(path, std::string(rows.status().message()));
  if (rows->empty()) return Damaged(path, "it is empty");
  return rows;
}

absl::StatusOr<std::vector<SpeakerRow>> ReadSpeakers(const std::string& path) {
  ASSIGN_OR_RETURN(const auto rows, ReadTable(path));
  constexpr std::array kHeader = {"speaker",  "utterances",    "correct",
                                  "accuracy", "confused_with", "confusions"};
  if (!std::equal(kHeader.begin(), kHeader.end(), rows[0].fields.begin(), rows[0].fields.end())) {
    return Damaged(path, "its header is another one");
  }
  std::vector<SpeakerRow> speakers;
  for (size_t i = 1; i < rows.size(); ++i) {
    const auto& fields = rows[i].fields;
    SpeakerRow row{.speaker = fields[0], .confused_with = fields[4]};
    if (!absl::SimpleAtoi(fields[1], &row.utterances) || !absl::SimpleAtoi(fields[2], &row.correct) ||
        !absl::SimpleAtoi(fields[5], &row.confusions) || row.correct < 0 || row.confusions < 0 ||
        row.utterances < std::max<int64_t>(row.correct, 1)) {
      return Damaged(path, absl::StrCat("line ", rows[i].line, ": its counts cannot be"));
    }
    speakers.push_back(std::move(row));
  }
  return speakers;
}

absl::Status ReadMatrix(const std::string& path, Evaluation& evaluation) {
  ASSIGN_OR_RETURN(const auto rows, ReadTable(path));
  if (rows.size() != evaluation.speakers.size() + 1) return Damaged(path, "it has not a row each speaker");
  std::unordered_map<std::string, size_t> columns;  // name -> its place in evaluation.columns
  const auto place = [&](const std::string& name) {
    const auto [found, is_new] = columns.emplace(name, columns.size());
    if (is_new) evaluation.columns.push_back(name);
    return found->second;
  };
  for (const auto& row : evaluation.speakers) place(row.speaker);
  for (size_t r = 1; r < rows.size(); ++r) {
    const auto& fields = rows[r].fields;
    if (fields[0] != evaluation.speakers[r - 1].speaker) return Damaged(path, "its speakers are others");
    for (size_t c = 1; c < fields.size(); ++c) {
      int64_t count = 0;
      if (!absl::SimpleAtoi(fields[c], &count) || count < 0) {
        return Damaged(path, absl::StrCat("line ", rows[r].line, ": '", fields[c], "' is no count"));
      }
      if (count > 0) evaluation.cells.push_back({r - 1, place(rows[0].fields[c]), count});
    }
  }
  return absl::OkStatus();
}

json ReadJson(const std::string& path) {
  const auto text = data::ReadFile(path);
  return text.ok() ? ParseShallow(*text) : json();
}

}  // namespace

absl::StatusOr<Evaluation> ReadEvaluation(const std::string& folder) {
  std::error_code error;
  const std::string speakers = folder + "/speakers.csv", matrix = folder + "/confusion.csv";
  if (!fs::is_regular_file(speakers, error)) {
    return absl::NotFoundError(absl::StrCat(folder, " holds no evaluation"));
  }
  Evaluation evaluation;
  ASSIGN_OR_RETURN(evaluation.speakers, ReadSpeakers(speakers));
  if (evaluation.speakers.size() <= kLargestMatrix && fs::is_regular_file(matrix, error) &&
      fs::file_size(matrix, error) <= kLargestMatrixBytes) {
    RETURN_IF_ERROR(ReadMatrix(matrix, evaluation));
  }
  evaluation.figures = ReadJson(folder + "/evaluation.json");
  if (!evaluation.figures.is_object()) evaluation.figures = nullptr;
  return evaluation;
}

std::string WhyStale(const Evaluation& evaluation, const std::string& run_folder) {
  const auto state = ReadJson(run_folder + "/checkpoints/best/state.json");
  if (!state.is_object()) return "";
  if (evaluation.figures.is_null()) return "it does not say of which checkpoint it is";
  const auto best = state.value("step", json());
  const auto mine = evaluation.figures.value("step", json());
  if (mine != best)
    return absl::StrCat("it is of step ", mine.dump(), ", the best is now step ", best.dump());
  const auto sums = state.value("checksums", json::object());
  const auto sum = sums.is_object() ? sums.value("model.safetensors", json()) : json();
  if (evaluation.figures.value("model_checksum", json()) != sum) {
    return absl::StrCat("it is of another model of step ", best.dump());
  }
  return "";
}

}  // namespace trainer::report
