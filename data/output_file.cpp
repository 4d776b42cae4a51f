#include "data/output_file.h"

#include <fcntl.h>
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
  struct stat file {
  }, output{};
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
  const UniqueFd fd(open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd.valid()) return ErrnoStatus(errno, "cannot open", path);
  for (size_t done = 0; done < content.size();) {
    const ssize_t n = write(fd.get(), content.data() + done, content.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoStatus(errno, "cannot write to", path);
    done += static_cast<size_t>(n);
  }
  return absl::OkStatus();
}

}  // namespace data
