#pragma once

// For what may block for ever before there is a Watchdog, or after it: MPI's start and end.

#include <memory>
#include <string>

namespace launcher {

// Ends this process with kExitStalled, after a line on stderr ("rank 3 on node7: <what>; ..."), unless
// destroyed within `seconds`; 0: never. mpirun then ends the other ranks. Sleeps on a thread of its own; a
// process that is stopped meanwhile is not blamed for it: waiting is counted in pieces of a second.
class Deadline {
 public:
  Deadline(double seconds, std::string what);
  ~Deadline();
  Deadline(const Deadline&) = delete;
  Deadline& operator=(const Deadline&) = delete;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

// Seconds that MPI may take to come up, the ranks to read their configuration, and MPI to end: 300, or what
// the environment variable TRAINER_START_SECONDS says (0: for ever; what is no number counts as 300).
double StartSeconds();

}  // namespace launcher
