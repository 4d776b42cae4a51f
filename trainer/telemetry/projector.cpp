#include "trainer/telemetry/projector.h"

#include <cstring>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "trainer/telemetry/whole_writes.h"

namespace trainer::telemetry {
namespace {

absl::Status WriteText(const std::string& folder, const std::string& name, const std::string& text) {
  const auto path = (std::filesystem::path(folder) / name).string();
  const int error = ReplaceFile(path, text);
  if (error == 0) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat("cannot write ", path, ": ", std::strerror(error),
                                                   "; free some space or set run.dir to another disk"));
}

std::string Line(const std::vector<std::string>& cells) {
  const auto append = [](std::string* line, const std::string& cell) {
    line->append(absl::StrReplaceAll(cell, {{"\t", " "}, {"\n", " "}, {"\r", " "}}));
  };
  return absl::StrCat(absl::StrJoin(cells, "\t", append), "\n");
}

}  // namespace

absl::Status WriteProjector(const ProjectorTable& table, const std::string& folder) {
  std::string tensor;
  const auto width = static_cast<size_t>(table.width);
  for (size_t i = 0; i < table.values.size(); ++i) {
    absl::StrAppendFormat(&tensor, "%.7g%c", table.values[i], (i + 1) % width == 0 ? '\n' : '\t');
  }
  // Of a single column TensorBoard would take the header for a row.
  std::string metadata = Line(table.columns);
  for (const auto& row : table.rows) metadata += Line(row);

  const std::string tensor_name = table.name + ".tsv", metadata_name = table.name + "_metadata.tsv";
  if (auto status = WriteText(folder, tensor_name, tensor); !status.ok()) return status;
  if (auto status = WriteText(folder, metadata_name, metadata); !status.ok()) return status;
  return WriteText(folder, "projector_config.pbtxt",
                   absl::StrFormat("embeddings {\n"
                                   "  tensor_name: \"%s\"\n"
                                   "  tensor_shape: %d\n"
                                   "  tensor_shape: %d\n"
                                   "  tensor_path: \"%s\"\n"
                                   "  metadata_path: \"%s\"\n"
                                   "}\n",
                                   table.name, table.rows.size(), table.width, tensor_name, metadata_name));
}

}  // namespace trainer::telemetry
