#include "launcher/tool/stop_relay.h"

#include <csignal>

#include "launcher/stop_signal.h"

namespace launcher::tool {

int StopRelay::OnSignal(int signal, bool ranks_are_up) {
  if (signal != ChosenStopSignal() && ++endings_ > 1) {
    sent_too_early_ = false;
    return signal == SIGHUP ? SIGTERM : signal;
  }
  if (requested_) return 0;
  requested_ = true;
  sent_too_early_ = !ranks_are_up;
  return ChosenStopSignal();
}

int StopRelay::OnRanksAreUp() {
  const int signal = sent_too_early_ ? ChosenStopSignal() : 0;
  sent_too_early_ = false;
  return signal;
}

}  // namespace launcher::tool
