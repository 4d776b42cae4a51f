// Keeps a second run out of a run folder.
#pragma once

#include <functional>
#include <mutex>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "data/files.h"

namespace trainer::engine {

// An exclusive lock on RUN/.lock, a file that stays there: unlike that on a folder, a lock on a file that is
// open for writing is passed on to the server by NFS, so it holds against runs on other hosts. It ends with
// the process. Thread-safe.
class RunLock {
 public:
  struct Taking {
    double seconds = 0;  // to wait for the one who has it
    // Asked all the while: false gives up at once. `owner`: who has it, as far as is known. May be empty.
    std::function<bool(const std::string& owner)> waiting;
    std::string warning;  // set where the file system knows no locks, without which Take goes on
  };
  // Makes the folder where it is not there, and gives up a lock that is held already. Errors:
  // kInvalidArgument where the folder cannot be made or written to; kFailedPrecondition where another run has
  // the lock, and keeps it.
  absl::Status Take(const std::string& run_dir, Taking& taking);

  // Says in the file who has it, for whoever finds it taken: once the run is sure to write to the folder.
  void Sign() const;

  // Whether what was locked has been taken away: the folder of that name is gone or another one, or its .lock
  // is. False also where the file system does not tell.
  bool IsLost() const;
  // Whether it is the folder itself.
  bool FolderIsLost() const;

  // Who has the lock of `run_dir`, " (process 123 on node7)" or what is known of it; nothing where it is
  // free. Takes it for an instant, for which a run that begins has the patience; makes nothing.
  static std::optional<std::string> Owner(const std::string& run_dir);

 private:
  mutable std::mutex mutex_;
  std::string run_dir_;    // guarded by mutex_, like the rest
  data::UniqueFd folder_;  // to know it again
  data::UniqueFd file_;
};

}  // namespace trainer::engine
