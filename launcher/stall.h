#pragma once

// Which rank is late: the judgement behind the Watchdog, and the words for it, apart from MPI, threads and
// clocks.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "launcher/event_ring.h"

namespace launcher::internal {

// What is known of one rank, by its last report.
struct RankState {
  std::string host;  // empty: it has never reported
  int64_t step = 0;
  int32_t phase = 0;          // one of the phases' numbers; they ascend in the order of a step
  int32_t part = -1;          // of the step: micro-batch
  int32_t sum = -1;           // the all-reduce that is under way or was last; -1: none in this step
  bool waits = false;         // for other ranks
  bool left = false;          // it has ended in good order: not to be judged
  double idle_seconds = 0;    // without progress
  double limit_seconds = 0;   // that it may be so, as things are; 0: for ever
  double silent_seconds = 0;  // since the report, or since the watch began
  double unix_seconds = 0;    // when the report was made, and
  int64_t nanoseconds = 0;    // the same moment by its steady clock
  std::vector<Event> events;
};

enum class Late {
  kSilent,  // it does not even report: stopped, or its host is gone
  kStuck,   // it has work of its own that does not end
  kBehind,  // all wait for others, and it has got least far
  kAlike,   // all wait for others at the same place
};

struct Stall {
  Late why = Late::kStuck;
  int rank = 0;
  double seconds = 0;  // without progress, or without a word
  int others = 0;      // ranks of which the same could be said
};

// Nothing while there is nobody who has made no progress for his limit, or while somebody still works within
// his: then the others have every reason to wait. Otherwise who is late. `ranks` in the order of ranks.
//
// A rank that waits for others is not late as long as there is one that does not wait, or is silent. Silent
// is who has not reported for half the limit of the one that made no progress: reports come more often by
// far. Of several, it is the one that has got least far (step, part, phase, sum), then the lowest.
std::optional<Stall> JudgeStall(const std::vector<RankState>& ranks);

// "rank 3 on node7 has made no progress for 300 s: step 12, data wait; <why, and what to do>", one line.
// `phases`: names.
std::string DescribeStall(const Stall& stall, const std::vector<RankState>& ranks,
                          const std::vector<std::string>& phases);

// All that is known, as JSON lines: {"kind":"stall",...}, then for each rank {"kind":"rank",...} and its
// {"kind":"event",...}s, oldest first, `time` in Unix seconds by that rank's clock.
std::string StallToJsonLines(const Stall& stall, const std::string& line, const std::vector<RankState>& ranks,
                             const std::vector<std::string>& phases);

}  // namespace launcher::internal
