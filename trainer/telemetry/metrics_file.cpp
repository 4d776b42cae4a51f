#include "trainer/telemetry/metrics_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "trainer/telemetry/whole_writes.h"

namespace trainer::telemetry {
namespace {

absl::Status WriteError(const std::string& path, int error) {
  const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
  return absl::ResourceExhaustedError(
      absl::StrCat("cannot write ", path, ": ", std::strerror(error),
                   full ? "; free some space or set run.dir to another disk"
                        : "; see that run.dir is there, and that it can be written to"));
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
      const auto error = WriteError(path, errno);
      std::remove(temporary.c_str());
      return error;
    }
  }
  if (!std::ofstream(path, std::ios::app)) return WriteError(path, errno);
  return MetricsFile(path);
}

absl::Status MetricsFile::Append(const nlohmann::ordered_json& line) {
  const int error = AppendWhole(path_, line.dump() + "\n");
  return error == 0 ? absl::OkStatus() : WriteError(path_, error);
}

void MetricsFile::Sync() const {
  const int file = open(path_.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return;
  fsync(file);
  close(file);
}

}  // namespace trainer::telemetry
