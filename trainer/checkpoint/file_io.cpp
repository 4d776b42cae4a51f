#include "trainer/checkpoint/file_io.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "data/checksum.h"
#include "data/files.h"
#include "data/status_macros.h"

namespace trainer::checkpoint {
namespace {

absl::Status WritePieces(const data::UniqueFd& fd, const std::string& path,
                         const std::vector<std::span<const char>>& pieces) {
  int64_t offset = 0;
  for (const std::span<const char> piece : pieces) {
    RETURN_IF_ERROR(data::PwriteAll(fd.get(), piece.data(), piece.size(), offset, path));
    offset += static_cast<int64_t>(piece.size());
  }
  if (::fsync(fd.get()) != 0) return data::ErrnoStatus(errno, "cannot fsync", path);
  return absl::OkStatus();
}

}  // namespace

absl::Status WriteSynced(const std::string& path, const std::vector<std::span<const char>>& pieces) {
  data::UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!fd.valid()) return data::ErrnoStatus(errno, "cannot create", path);
  absl::Status status = WritePieces(fd, path, pieces);
  if (!status.ok()) (void)::unlink(path.c_str());
  return status;
}

absl::Status MakeFolders(const std::string& path) {
  const std::filesystem::path folder(path);
  std::error_code error;
  if (std::filesystem::is_directory(folder, error)) return absl::OkStatus();
  const std::filesystem::path parent = folder.parent_path();
  const bool has_parent = !parent.empty() && parent != folder;
  if (has_parent) RETURN_IF_ERROR(MakeFolders(parent.string()));
  if (::mkdir(path.c_str(), 0755) != 0 && errno != EEXIST) {
    return data::ErrnoStatus(errno, "cannot make the folder", path);
  }
  if (!std::filesystem::is_directory(folder, error)) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, " is in the way: it is not a folder; remove or rename it"));
  }
  return data::SyncFolder(has_parent ? parent.string() : ".");
}

absl::Status ReplaceFolder(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) == 0) return absl::OkStatus();
  if (errno != ENOTEMPTY && errno != EEXIST) return data::ErrnoStatus(errno, "cannot rename a folder to", to);
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_EXCHANGE) == 0)
    return absl::OkStatus();
  // Not every file system can exchange two names; then there is a moment at which `to` names nothing.
  const std::string aside = from + "-replaced";
  if (::rename(to.c_str(), aside.c_str()) != 0) return data::ErrnoStatus(errno, "cannot move away", to);
  if (::rename(from.c_str(), to.c_str()) != 0) {
    const absl::Status status = data::ErrnoStatus(errno, "cannot rename a folder to", to);
    (void)::rename(aside.c_str(), to.c_str());
    return status;
  }
  (void)::rename(aside.c_str(), from.c_str());
  return absl::OkStatus();
}

absl::Status ReplaceLink(const std::string& path, const std::string& target, const std::string& temporary) {
  (void)::unlink(temporary.c_str());
  if (::symlink(target.c_str(), temporary.c_str()) != 0) {
    return data::ErrnoStatus(errno, "cannot make the link", temporary);
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0) {
    const absl::Status status = data::ErrnoStatus(errno, "cannot replace the link", path);
    (void)::unlink(temporary.c_str());
    return status;
  }
  return absl::OkStatus();
}

uint64_t ChecksumOf(const std::vector<std::span<const char>>& pieces) {
  data::ChecksumStream stream;
  for (const std::span<const char> piece : pieces) stream.Update(piece.data(), piece.size());
  return stream.Digest();
}

std::string Hex(uint64_t checksum) { return absl::StrFormat("%016x", checksum); }

}  // namespace trainer::checkpoint
