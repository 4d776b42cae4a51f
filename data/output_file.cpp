#include "data/output_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "data/files.h"

namespace data {
namespace {

namespace fs = std::filesystem;

constexpr int kMostLinks = 40;  // as in the kernel

// A file that can be replaced, or nothing.
bool IsFileOrNothing(const std::string& path) {
  std::error_code ignored;
  const auto kind = fs::status(path, ignored).type();
  return kind == fs::file_type::regular || kind == fs::file_type::not_found;
}

}  // namespace

bool IsStandardOutput(const std::string& path) {
  struct stat file = {};
  struct stat output = {};
  return stat(path.c_str(), &file) == 0 && fstat(STDOUT_FILENO, &output) == 0 &&
         file.st_dev == output.st_dev && file.st_ino == output.st_ino;
}

std::string OutputTarget(const std::string& path) {
  if (!IsFileOrNothing(path) || IsStandardOutput(path)) return path;
  fs::path target = path;
  std::error_code error;
  for (int i = 0; i < kMostLinks && fs::is_symlink(target, error); ++i) {
    const fs::path next = fs::read_symlink(target, error);
    if (error) return path;
    target = next.is_absolute() ? next : target.parent_path() / next;
  }
  return target.string();
}

absl::Status WriteOutputFile(const std::string& path, const std::string& content) {
  if (IsStandardOutput(path)) {
    std::fwrite(content.data(), 1, content.size(), stdout);  // FlushStandardOutput() tells how that went
    return absl::OkStatus();
  }
  if (IsFileOrNothing(path)) {
    const std::string target = OutputTarget(path);
    return WriteFileAtomically(target, content, absl::StrCat(target, ".", getpid(), ".tmp"));
  }
  std::FILE* file = std::fopen(path.c_str(), "we");
  if (file == nullptr) return ErrnoStatus(errno, "cannot open", path);
  const bool whole = std::fwrite(content.data(), 1, content.size(), file) == content.size();
  const int error = errno;
  if (std::fclose(file) != 0) return ErrnoStatus(errno, "cannot write to", path);
  return whole ? absl::OkStatus() : ErrnoStatus(error, "cannot write to", path);
}

}  // namespace data
