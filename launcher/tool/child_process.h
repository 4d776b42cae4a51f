#pragma once

// Programs started, waited for and ended, and the signals that reach the launcher meanwhile. One thread.

#include <signal.h>
#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "launcher/fd.h"

namespace launcher::tool {

enum class Stream { kInherit, kDiscard, kPipe };

struct Child {
  pid_t pid = 0;
  Fd out, err;  // the reading ends, where piped
};

struct ChildOptions {
  Stream out = Stream::kInherit;
  Stream err = Stream::kInherit;
  std::string folder;  // to run it in; empty: this one
};

struct Event {
  enum Kind { kSignal, kChildEnded, kReadable, kTimeout };
  Kind kind = kTimeout;
  int signal = 0;     // kSignal: the stop signal (stop_signal.h), SIGTERM, SIGINT or SIGHUP
  pid_t pid = 0;      // kChildEnded: whose end, also of orphans
  int exit_code = 0;  // kChildEnded: 128 + n where signal n ended it
};

// Takes over the process' signals and children; one object, made while there is one thread. From then on
// signals arrive by Next() alone (those that were ignored stay so), writing to a closed pipe is an error and
// no signal, and orphans of children become children of this process.
class Processes {
 public:
  // Throws std::system_error where the system refuses.
  Processes();
  Processes(const Processes&) = delete;
  Processes& operator=(const Processes&) = delete;

  // Starts argv[0], a path, in a session of its own: the terminal's Ctrl-C does not reach it, and it may
  // write to the terminal at any time. It has no standard input. It gets SIGTERM when this process dies.
  // Where it cannot be started, it says so on standard error and exits with 127. kResourceExhausted where
  // there can be no further process.
  absl::StatusOr<Child> Start(const std::vector<std::string>& argv, const ChildOptions& options) const;

  // What happens next, within `seconds` (negative: without limit). `readable`: a file descriptor to watch.
  Event Next(double seconds, int readable = -1);

  // Ends what is left of all children, with their orphans: those that do not end within `grace_seconds` are
  // killed. False where some do not go even so.
  bool EndAll(double grace_seconds);

 private:
  Fd signals_;
  sigset_t taken_;
  sigset_t mask_before_;
};

}  // namespace launcher::tool
