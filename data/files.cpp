#include "data/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "data/status_macros.h"

namespace data {

UniqueFd& UniqueFd::operator=(UniqueFd&& other) noexcept {
  if (this != &other) {
    Reset();
    fd_ = other.Release();
  }
  return *this;
}

int UniqueFd::Release() {
  const int fd = fd_;
  fd_ = -1;
  return fd;
}

void UniqueFd::Reset() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

absl::Status ErrnoStatus(int error, const std::string& what, const std::string& path) {
  const std::string message = absl::StrCat(what, " ", path, ": ", std::strerror(error));
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      return absl::NotFoundError(message);
    case EACCES:
    case EPERM:
    case EROFS:
      return absl::PermissionDeniedError(message);
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return absl::ResourceExhaustedError(absl::StrCat(message, "; free space or choose another folder"));
    case EMFILE:
      return absl::ResourceExhaustedError(
          absl::StrCat(message, "; raise `ulimit -n` or write fewer, larger shards (--shard-mib)"));
    default:
      return absl::InternalError(message);
  }
}

absl::StatusOr<UniqueFd> OpenForRead(const std::string& path) {
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return ErrnoStatus(errno, "cannot open", path);
  return fd;
}

absl::StatusOr<int64_t> FileSize(const UniqueFd& fd, const std::string& path) {
  struct stat info;
  if (fstat(fd.get(), &info) != 0) return ErrnoStatus(errno, "cannot stat", path);
  if (!S_ISREG(info.st_mode)) return absl::InvalidArgumentError(absl::StrCat(path, " is not a plain file"));
  return static_cast<int64_t>(info.st_size);
}

absl::Status PreadAll(int fd, void* out, size_t size, int64_t offset, const std::string& path) {
  char* to = static_cast<char*>(out);
  while (size > 0) {
    const ssize_t n = pread(fd, to, size, offset);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoStatus(errno, "cannot read", path);
    if (n == 0) return absl::DataLossError(absl::StrCat(path, " ends at byte ", offset, ": it is truncated"));
    to += n;
    offset += n;
    size -= static_cast<size_t>(n);
  }
  return absl::OkStatus();
}

absl::Status PwriteAll(int fd, const void* bytes, size_t size, int64_t offset, const std::string& path) {
  const char* from = static_cast<const char*>(bytes);
  while (size > 0) {
    const ssize_t n = pwrite(fd, from, size, offset);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return ErrnoStatus(n < 0 ? errno : EIO, "cannot write", path);
    from += n;
    offset += n;
    size -= static_cast<size_t>(n);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  ASSIGN_OR_RETURN(const UniqueFd fd, OpenForRead(path));
  ASSIGN_OR_RETURN(const int64_t size, FileSize(fd, path));
  std::string content(static_cast<size_t>(size), '\0');
  RETURN_IF_ERROR(PreadAll(fd.get(), content.data(), content.size(), 0, path));
  return content;
}

absl::Status SyncFolder(const std::string& folder) {
  const UniqueFd fd(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return ErrnoStatus(errno, "cannot open", folder);
  // Some network file systems refuse to sync a folder; the rename is then as durable as they make it.
  if (fsync(fd.get()) != 0 && errno != EINVAL) return ErrnoStatus(errno, "cannot sync", folder);
  return absl::OkStatus();
}

absl::Status WriteFileAtomically(const std::string& path, const std::string& content, std::string temporary) {
  if (temporary.empty()) temporary = path + ".tmp";
  auto write = [&]() -> absl::Status {
    const UniqueFd fd(open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    if (!fd.valid()) return ErrnoStatus(errno, "cannot create", temporary);
    RETURN_IF_ERROR(PwriteAll(fd.get(), content.data(), content.size(), 0, temporary));
    if (fsync(fd.get()) != 0) return ErrnoStatus(errno, "cannot sync", temporary);
    if (rename(temporary.c_str(), path.c_str()) != 0) return ErrnoStatus(errno, "cannot rename to", path);
    return absl::OkStatus();
  };
  if (absl::Status status = write(); !status.ok()) {
    unlink(temporary.c_str());
    return status;
  }
  const std::string folder = std::filesystem::path(path).parent_path().string();
  return SyncFolder(folder.empty() ? "." : folder);
}

}  // namespace data
