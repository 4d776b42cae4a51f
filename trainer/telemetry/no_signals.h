// Threads of libraries that must not receive the process' signals.
#pragma once

#include <pthread.h>

#include <csignal>

namespace trainer::telemetry {

// While it lives, threads that the calling thread starts begin with all signals blocked: none of them is
// chosen for a stop signal, and a peer that hangs up does not end the process by SIGPIPE.
class NoSignals {
 public:
  NoSignals() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~NoSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  NoSignals(const NoSignals&) = delete;
  NoSignals& operator=(const NoSignals&) = delete;

 private:
  sigset_t before_;
};

}  // namespace trainer::telemetry
