#pragma once

// Ends a world that makes no progress, with one line that names who is late.
//
//   Watchdog watchdog(world, {.phases = {{"data wait", 300}, {"all-reduce", 300, /*waits=*/true}}, ...});
//   watchdog.Enter(/*phase=*/0, /*step=*/1);   // main thread, as it goes: some 50 ns
//
// Note [Who is late]
// A rank that is stopped cannot say so, and those that wait for it know nothing but that they wait. So each
// rank has a thread that reports several times within the shortest limit where the rank is, since when, and
// its last events: to ranks 0 and 1, and those two to all. Nobody waits for a report. Rank 0 judges
// (stall.h); rank 1 where rank 0 is silent; any other rank speaks for itself where both are. What a silent
// rank did last is what it reported last.
//
// The judge prints the line, writes the last events of all ranks, aborts its communicator and then the world
// by MPI_Abort, upon which mpirun kills the others, stopped ones too. All that may block (files, the GPU's
// driver) has a deadline of its own.
//
// Note [Time]
// Waiting is counted in a clock that cannot be set, and of that only while this process is awake: of a gap
// between two looks (SIGSTOP of the whole job, a suspended machine, a virtual one that moves) no more than
// two looks' length counts.
//
// Note [Messages]
// Reports are point-to-point messages on MPI_COMM_WORLD with a tag that nobody else may use: a communicator
// of their own would be a collective call, in which a rank could already be stuck, unwatched. At the end each
// rank sends a last one and waits for those of its peers, so that none is left to be received.

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "launcher/event_ring.h"
#include "launcher/mpi_session.h"

namespace launcher {

struct WatchedPhase {
  std::string name;
  double limit_seconds = 0;  // without progress; 0: for ever
  bool waits = false;        // for other ranks: it is not the one to blame
};

struct WatchdogOptions {
  // Numbered from 0 in the order in which a step goes through them.
  std::vector<WatchedPhase> phases;
  // Least limit of every phase until SetUpIsOver(): first steps are slow.
  double set_up_seconds = 0;
  // Where stall-<time>.jsonl is written, if the folder is there.
  std::string folder;
  int exit_code = 1;
  // Ends the line: what the reader may do.
  std::string advice;
};

// Made and destroyed by the main thread, on every rank, while an MpiSession lives; begins in phase 0. Throws
// Error where MPI fails at once. Destroyed in good order (no exception is unwinding) it waits for all other
// ranks' watchdogs to be destroyed too, still watching.
class Watchdog {
 public:
  Watchdog(const World& world, WatchdogOptions options);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  // From here on this rank is in `phase` of `step` (0: none), and of that in `part` (a micro-batch; -1:
  // none). Counts as progress. Main thread.
  void Enter(int phase, int64_t step, int part = -1) {
    phase_.store(phase, std::memory_order_relaxed);
    step_.store(step, std::memory_order_relaxed);
    part_.store(part, std::memory_order_relaxed);
    ring_.Add(step, phase, part);
  }

  // Progress within a phase.
  void Progress() {
    Enter(phase(), step_.load(std::memory_order_relaxed), part_.load(std::memory_order_relaxed));
  }

  // All-reduce number `sum` of this step has begun (`done`: is over). `phase`: what to call it among the
  // events. Any thread.
  void Sum(int phase, int sum, bool done) {
    sum_.store(done ? sum + 1 : sum, std::memory_order_relaxed);
    ring_.Add(step_.load(std::memory_order_relaxed), phase, sum);
  }
  // None has begun in this step.
  void NoSum() { sum_.store(-1, std::memory_order_relaxed); }

  // From here on only the phases' own limits count.
  void SetUpIsOver() { set_up_.store(false, std::memory_order_relaxed); }

  int phase() const { return phase_.load(std::memory_order_relaxed); }

  // What ends with the world. `health` is asked at each look: not OK for ten seconds ends the world too (the
  // main thread, unless it is stuck, ends it sooner). `abort` is called before the end. Both on the
  // watchdog's thread, whatever the main thread does meanwhile. Empty ones, from before what they refer to is
  // gone.
  struct Hooks {
    std::function<absl::Status()> health;
    std::function<void()> abort;
  };
  void Guard(Hooks hooks);

 private:
  class Watch;

  std::atomic<int> phase_{0};
  std::atomic<int64_t> step_{0};
  std::atomic<int> part_{-1};
  std::atomic<int> sum_{-1};
  std::atomic<bool> set_up_{true};
  internal::EventRing ring_;
  std::unique_ptr<Watch> watch_;  // the thread, and all that is its own
};

}  // namespace launcher
