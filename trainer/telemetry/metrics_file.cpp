#include "trainer/telemetry/metrics_file.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"

namespace trainer::telemetry {
namespace {

absl::Status WriteError(const std::string& path) {
  return absl::ResourceExhaustedError(absl::StrCat("cannot write ", path, ": ", std::strerror(errno),
                                                   "; free some space or set run.dir to another disk"));
}

}  // namespace

absl::StatusOr<MetricsFile> MetricsFile::Open(const std::string& path, int64_t last_step) {
  if (std::ifstream old(path); old) {
    const std::string temporary = path + ".tmp";
    std::ofstream kept(temporary, std::ios::trunc);
    for (std::string line; std::getline(old, line);) {
      const auto parsed = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
      if (!parsed.is_object() || !parsed.contains("step") || !parsed["step"].is_number_integer()) continue;
      if (parsed["step"].get<int64_t>() <= last_step) kept << line << '\n';
    }
    kept.close();
    if (!kept || std::rename(temporary.c_str(), path.c_str()) != 0) {
      const auto error = WriteError(path);
      std::remove(temporary.c_str());
      return error;
    }
  }
  if (!std::ofstream(path, std::ios::app)) return WriteError(path);
  return MetricsFile(path);
}

absl::Status MetricsFile::Append(const nlohmann::ordered_json& line) {
  std::error_code ignored;
  const auto size = std::filesystem::file_size(path_, ignored);
  errno = 0;
  std::ofstream stream(path_, std::ios::app);
  stream << line.dump() << '\n';
  stream.close();
  if (stream) return absl::OkStatus();
  const auto error = WriteError(path_);
  if (!ignored)
    std::filesystem::resize_file(path_, size, ignored);  // takes away what was written of the line
  return error;
}

}  // namespace trainer::telemetry
