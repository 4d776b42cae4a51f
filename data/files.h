#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace data {

// A file descriptor that closes itself.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.Release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept;
  ~UniqueFd() { Reset(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  int Release();
  void Reset();

 private:
  int fd_ = -1;
};

// "<what> <path>: <strerror>" under the code that fits errno: kNotFound, kPermissionDenied,
// kResourceExhausted for a full disk or quota (which then says so), kInternal for the rest.
absl::Status ErrnoStatus(int error, const std::string& what, const std::string& path);

absl::StatusOr<UniqueFd> OpenForRead(const std::string& path);
absl::StatusOr<int64_t> FileSize(const UniqueFd& fd, const std::string& path);

// Reads or writes all of `size` bytes at `offset`. A file that ends before is kDataLoss.
absl::Status PreadAll(int fd, void* out, size_t size, int64_t offset, const std::string& path);
absl::Status PwriteAll(int fd, const void* bytes, size_t size, int64_t offset, const std::string& path);

absl::StatusOr<std::string> ReadFile(const std::string& path);
// Replaces `path` so that after a crash at any moment it holds the old content or the new: temporary file
// (`path` + ".tmp" where none is named), fsync, rename, fsync of the folder. On failure the temporary file
// goes.
absl::Status WriteFileAtomically(const std::string& path, const std::string& content,
                                 std::string temporary = "");
absl::Status SyncFolder(const std::string& folder);

}  // namespace data
