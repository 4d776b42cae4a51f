#include "trainer/telemetry/auth_file.h"

#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace trainer::telemetry {
namespace {
constexpr size_t kMostAuthBytes = 4096;
}

absl::StatusOr<std::string> ReadAuthFile(const std::string& key, const std::string& path,
                                         const WarnFunction& warn) {
  const auto error = [&](absl::string_view what) {
    return absl::InvalidArgumentError(absl::StrCat(key, ": ", path, what));
  };
  std::error_code ignored;
  if (std::filesystem::exists(path, ignored) && !std::filesystem::is_regular_file(path, ignored)) {
    return error(" is no file");
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) return error(" cannot be read");
  std::string text(kMostAuthBytes, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  absl::string_view line = text;
  absl::ConsumeSuffix(&line, "\n");
  absl::ConsumeSuffix(&line, "\r");
  const size_t colon = line.find(':');
  if (colon == line.npos || colon == 0 || colon + 1 == line.size() || absl::StrContains(line, '\n')) {
    return error(" must hold one line user:password");
  }
  struct stat status {};
  if (stat(path.c_str(), &status) == 0 && (status.st_mode & (S_IRGRP | S_IROTH)) != 0) {
    warn(absl::StrCat(key, ": others can read the password in ", path, "; chmod 600 it"));
  }
  return std::string(line);
}

}  // namespace trainer::telemetry
