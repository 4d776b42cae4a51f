#include "trainer/preflight/disk.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <filesystem>

#include "data/files.h"
#include "data/status_macros.h"
#include "trainer/engine/stopwatch.h"

namespace trainer::preflight {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMostWritten = 32 << 20;

}  // namespace

std::string NearestFolder(const std::string& folder) {
  std::error_code error;
  fs::path path = fs::absolute(folder, error).lexically_normal();
  while (!fs::exists(path, error) && path.has_relative_path()) path = path.parent_path();
  return path.string();
}

absl::StatusOr<double> FreeBytes(const std::string& folder) {
  struct statvfs disk {};
  if (statvfs(folder.c_str(), &disk) != 0) {
    return data::ErrnoStatus(errno, "cannot ask for the free space of", folder);
  }
  return static_cast<double>(disk.f_bavail) * static_cast<double>(disk.f_frsize);
}

absl::StatusOr<double> WriteSpeed(const std::string& folder) {
  ASSIGN_OR_RETURN(const double free, FreeBytes(folder));
  std::string path = (fs::path(folder) / ".trainer-preflight-XXXXXX").string();
  const data::UniqueFd file(mkostemp(path.data(), O_CLOEXEC));
  if (!file.valid()) return data::ErrnoStatus(errno, "cannot write to", folder);
  unlink(path.c_str());  // before anything is written: whatever happens, it is gone
  const std::string piece(1 << 20, '\x5a');
  const int64_t size = std::clamp(static_cast<int64_t>(free / 2), int64_t{4096}, kMostWritten);
  const engine::Stopwatch clock;
  for (int64_t at = 0; at < size; at += static_cast<int64_t>(piece.size())) {
    const auto count = std::min<int64_t>(static_cast<int64_t>(piece.size()), size - at);
    RETURN_IF_ERROR(data::PwriteAll(file.get(), piece.data(), static_cast<size_t>(count), at, folder));
  }
  if (fsync(file.get()) != 0) return data::ErrnoStatus(errno, "cannot write to", folder);
  return static_cast<double>(size) / clock.Seconds();
}

double BytesBelow(const std::string& folder) {
  std::error_code error;
  double bytes = 0;
  for (fs::recursive_directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    std::error_code ignored;
    const auto size = at->is_regular_file(ignored) && !at->is_symlink(ignored) ? at->file_size(ignored) : 0;
    if (!ignored) bytes += static_cast<double>(size);
  }
  return bytes;
}

}  // namespace trainer::preflight
