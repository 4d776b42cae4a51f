#include "data/interrupt.h"

#include <csignal>
#include <stdexcept>

#include "absl/strings/str_cat.h"

namespace data {
namespace {

volatile std::sig_atomic_t caught_signal = 0;

extern "C" void OnSignal(int signal) { caught_signal = signal; }

}  // namespace

void CatchInterrupts() {
  struct sigaction action = {};
  action.sa_handler = OnSignal;
  // The default comes back with the first signal: the second one ends the process.
  action.sa_flags = SA_RESTART | SA_RESETHAND;
  for (const int signal : {SIGINT, SIGTERM}) {
    if (sigaction(signal, &action, nullptr) != 0) throw std::runtime_error("sigaction failed");
  }
}

int InterruptSignal() { return caught_signal; }

absl::Status CheckInterrupt() {
  if (caught_signal == 0) return absl::OkStatus();
  return absl::CancelledError(absl::StrCat(caught_signal == SIGINT ? "interrupted" : "asked to stop",
                                           " before the data set was complete; run the same command again"));
}

}  // namespace data
