#pragma once

// Which signal the run is sent when one reaches the launcher: a judgement, without processes.

namespace launcher::tool {

// mpirun gives its ranks one second after SIGTERM or SIGINT; the stop signal (launcher/stop_signal.h:
// SIGUSR1) it passes on and waits. So every first request becomes the stop signal, on which ranks save and
// end. The second SIGTERM or SIGINT goes through as it is.
//
// Until its ranks are up, mpirun loses what it is to pass on: such a stop signal is sent again, once, when
// they are.
class StopRelay {
 public:
  // For a signal that came: what mpirun is to be sent, or 0 for nothing. `ranks_are_up`: they catch signals.
  int OnSignal(int signal, bool ranks_are_up);

  // Whether a stop signal may have been lost: then ask OnRanksAreUp() as soon as they are.
  bool waits_for_ranks() const { return sent_too_early_; }
  // What mpirun is to be sent then.
  int OnRanksAreUp();

  bool requested() const { return requested_; }

 private:
  bool requested_ = false;
  bool sent_too_early_ = false;
  int endings_ = 0;  // SIGTERM, SIGINT or SIGHUP so far
};

}  // namespace launcher::tool
