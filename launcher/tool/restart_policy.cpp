#include "launcher/tool/restart_policy.h"

#include <algorithm>
#include <cmath>
#include <csignal>

namespace launcher::tool {

Verdict Judge(const Ending& ending, int restarts, int max_restarts) {
  switch (ending.exit_code) {
    case kExitDone:
    case kExitBadInput:
    case kExitStopped:
      return Verdict::kPassOn;
    default:
      break;
  }
  if (ending.stop_requested) {
    // A rank (or mpirun) that does not catch SIGUSR1 yet is ended by it. Without a step there was nothing to
    // save.
    const bool too_early = ending.exit_code == 128 + SIGUSR1 && !ending.made_step;
    return too_early ? Verdict::kStopped : Verdict::kPassOn;
  }
  if (!ending.made_step) return Verdict::kNoProgress;
  return restarts < max_restarts ? Verdict::kRestart : Verdict::kUsedUp;
}

double BackoffSeconds(double first_seconds, int restart) {
  return std::min(kLongestBackoffSeconds, std::ldexp(first_seconds, restart - 1));
}

std::vector<int> PossibleRanks(int most, int least, int64_t global_batch, int64_t accumulate) {
  std::vector<int> possible;
  for (int ranks = most; ranks >= std::max(least, 1); --ranks) {
    if (global_batch % (ranks * accumulate) == 0) possible.push_back(ranks);
  }
  return possible;
}

}  // namespace launcher::tool
