#include "trainer/engine/run_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <thread>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "data/status_macros.h"

namespace trainer::engine {
namespace {

namespace fs = std::filesystem;

constexpr double kLookSeconds = 0.1;

std::string LockPath(const std::string& run_dir) { return (fs::path(run_dir) / ".lock").string(); }

// " (process 123 on node7)", as the owner has written it; empty where it has not, or it cannot be read.
std::string OwnerOf(int file) {
  char text[128];
  const ssize_t bytes = pread(file, text, sizeof(text), 0);
  if (bytes <= 0) return "";
  std::string owner(text, static_cast<size_t>(bytes));
  owner.resize(std::min(owner.find('\n'), owner.size()));
  const bool is_clean = std::all_of(owner.begin(), owner.end(),
                                    [](unsigned char letter) { return absl::ascii_isprint(letter); });
  return owner.empty() || !is_clean ? "" : absl::StrCat(" (", owner, ")");
}

// Whether `path` no longer names what `fd` has open, as far as the file system tells.
bool IsAnother(int fd, const std::string& path) {
  struct stat held {};
  struct stat named {};
  if (stat(path.c_str(), &named) != 0) return errno == ENOENT || errno == ENOTDIR;
  if (fstat(fd, &held) != 0) return errno == ESTALE;
  return held.st_dev != named.st_dev || held.st_ino != named.st_ino;
}

absl::Status OpenLock(const std::string& run_dir, data::UniqueFd& file) {
  file = data::UniqueFd(open(LockPath(run_dir).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (file.valid()) return absl::OkStatus();
  if (errno == EACCES || errno == EPERM || errno == EROFS) {
    return absl::InvalidArgumentError(absl::StrCat("cannot write to run.dir ", run_dir, ": ",
                                                   std::strerror(errno),
                                                   "; set run.dir to a folder that can be written to"));
  }
  return data::ErrnoStatus(errno, "cannot create", LockPath(run_dir));
}

}  // namespace

absl::Status RunLock::Take(const std::string& run_dir, Taking& taking) {
  const std::lock_guard guard(mutex_);
  file_.Reset();
  folder_.Reset();
  run_dir_ = run_dir;
  std::error_code error;
  fs::create_directories(run_dir, error);
  if (error) {
    return absl::InvalidArgumentError(absl::StrCat("cannot create run.dir ", run_dir, ": ", error.message(),
                                                   "; set run.dir to another folder"));
  }
  data::UniqueFd file;
  for (double waited = 0;; waited += kLookSeconds) {
    // Whoever has it may have deleted the file: then it is the one that is there now that counts.
    if (!file.valid() || IsAnother(file.get(), LockPath(run_dir))) {
      RETURN_IF_ERROR(OpenLock(run_dir, file));
    }
    const bool is_locked = flock(file.get(), LOCK_EX | LOCK_NB) == 0;
    if (is_locked && !IsAnother(file.get(), LockPath(run_dir))) break;
    if (!is_locked && errno != EWOULDBLOCK) {
      taking.warning =
          absl::StrCat("run.dir ", run_dir, ": its file system knows no locks (", std::strerror(errno),
                       "), so nothing keeps a second run from writing to it; start none");
      break;
    }
    const std::string owner = OwnerOf(file.get());
    if (waited >= taking.seconds || (taking.waiting && !taking.waiting(owner))) {
      return absl::FailedPreconditionError(
          absl::StrCat("another run is writing to run.dir ", run_dir, owner,
                       "; let it end first, or set run.dir to another folder"));
    }
    std::this_thread::sleep_for(std::chrono::duration<double>(kLookSeconds));
  }
  data::UniqueFd folder(open(run_dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder.valid()) return data::ErrnoStatus(errno, "cannot open run.dir", run_dir);
  folder_ = std::move(folder);
  file_ = std::move(file);
  return absl::OkStatus();
}

void RunLock::Sign() const {
  const std::lock_guard guard(mutex_);
  if (!file_.valid()) return;
  char host[64] = "";
  gethostname(host, sizeof(host) - 1);
  const std::string owner = absl::StrCat("process ", getpid(), " on ", host, "\n");
  // Not a reason to fail: it is the lock that counts.
  if (ftruncate(file_.get(), 0) != 0 || pwrite(file_.get(), owner.data(), owner.size(), 0) < 0) return;
}

bool RunLock::IsLost() const {
  if (FolderIsLost()) return true;
  const std::lock_guard guard(mutex_);
  return IsAnother(file_.get(), LockPath(run_dir_));
}

bool RunLock::FolderIsLost() const {
  const std::lock_guard guard(mutex_);
  return !folder_.valid() || IsAnother(folder_.get(), run_dir_);
}

std::optional<std::string> RunLock::Owner(const std::string& run_dir) {
  const data::UniqueFd file(open(LockPath(run_dir).c_str(), O_RDWR | O_CLOEXEC));
  if (!file.valid() || flock(file.get(), LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return std::nullopt;
  return OwnerOf(file.get());
}

}  // namespace trainer::engine
