#include "launcher/tool/restart_policy.h"

#include <algorithm>
#include <cmath>
#include <csignal>

#include "launcher/stop_signal.h"

namespace launcher::tool {

Verdict Judge(const Ending& ending, int restarts, int max_restarts) {
  if (IsOver(ending.exit_code)) return Verdict::kPassOn;
  if (ending.stop_requested) {
    // The stop signal ends a rank, or mpirun, that does not catch it yet, or does so no more. What matters is
    // that nothing is lost by it.
    const bool by_request = ending.exit_code == 128 + ChosenStopSignal();
    return by_request && (ending.saved || !ending.made_step) ? Verdict::kStopped : Verdict::kPassOn;
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
