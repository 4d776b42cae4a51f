#pragma once

// "Please stop": SIGTERM (schedulers), SIGINT (Ctrl-C), and SIGUSR1 (SLURM's early warning) or another one,
// as a flag to look at between steps.

#include <csignal>

namespace launcher {

// While an object lives, these three signals set a flag and do nothing else; the former handlers come back
// when it is destroyed. Calls into the system that a signal interrupts are restarted. One object at a time (a
// second throws Error); requested() and signal() may be called by any thread. Stopping is for the ranks to
// agree on at a step's end: a signal may have reached only some of them.
class StopSignals {
 public:
  // `chosen`: the third one; see ChosenStopSignal.
  explicit StopSignals(int chosen = SIGUSR1);
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  bool requested() const { return signal() != 0; }
  // The first of the signals that came, 0 where none has.
  int signal() const;

 private:
  const int signals_[3];
  struct sigaction before_[3];
};

}  // namespace launcher
