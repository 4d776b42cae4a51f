#pragma once

// What follows when a run has ended: judgements alone, without processes or clocks.

#include <cstdint>
#include <vector>

namespace launcher::tool {

// What the trainer's exit codes mean, and the launcher's own.
inline constexpr int kExitDone = 0;
inline constexpr int kExitFailure = 1;
inline constexpr int kExitBadInput = 2;
inline constexpr int kExitStopped = 75;  // on request, after saving

// The longest that a restart waits.
inline constexpr double kLongestBackoffSeconds = 300;

// Whether the run is over: it will not be started again.
inline bool IsOver(int exit_code) {
  return exit_code == kExitDone || exit_code == kExitBadInput || exit_code == kExitStopped;
}

// How one start of the run ended.
struct Ending {
  int exit_code = 0;            // mpirun's; 128 + n where signal n ended it
  bool made_step = false;       // at least one training step since this start
  bool saved = false;           // and all of them are in a checkpoint
  bool stop_requested = false;  // the launcher was told to stop
};

enum class Verdict {
  kPassOn,      // the run is over; its exit code is the launcher's
  kStopped,     // over on request, with nothing unsaved: kExitStopped, whatever mpirun made of it
  kRestart,     // start it again
  kNoProgress,  // failed before its first step: it would again
  kUsedUp,      // failed, and has been restarted as often as is allowed
};

Verdict Judge(const Ending& ending, int restarts, int max_restarts);

// Seconds to wait before restart number `restart` (1, 2, ...): twice as long each time, up to
// kLongestBackoffSeconds.
double BackoffSeconds(double first_seconds, int restart);

// Numbers of ranks, largest first, from `most` down to `least`, that a step's batch can be divided among.
std::vector<int> PossibleRanks(int most, int least, int64_t global_batch, int64_t accumulate);

}  // namespace launcher::tool
