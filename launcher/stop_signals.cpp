#include "launcher/stop_signals.h"

#include <atomic>
#include <cerrno>
#include <system_error>

#include "launcher/error.h"

namespace launcher {
namespace {

// What the handler may touch: a lock-free atomic and nothing else.
std::atomic<int> first_signal{0};
static_assert(std::atomic<int>::is_always_lock_free);
std::atomic<bool> installed{false};

void Remember(int signal) {
  int none = 0;
  first_signal.compare_exchange_strong(none, signal, std::memory_order_relaxed);
}

}  // namespace

StopSignals::StopSignals(int chosen) : signals_{SIGTERM, SIGINT, chosen} {
  LAUNCHER_REQUIRE(!installed.exchange(true), "One StopSignals at a time");
  first_signal = 0;
  struct sigaction action = {};
  action.sa_handler = Remember;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  for (int i = 0; i < 3; ++i) {
    if (sigaction(signals_[i], &action, &before_[i]) != 0) {
      const std::string why = std::generic_category().message(errno);
      while (--i >= 0) sigaction(signals_[i], &before_[i], nullptr);
      installed = false;
      internal::Fail("sigaction", __FILE__, __LINE__, why, "The system refuses a signal handler");
    }
  }
}

StopSignals::~StopSignals() {
  // The very calls that installed the handlers, with valid signal numbers: they cannot fail.
  for (int i = 0; i < 3; ++i) sigaction(signals_[i], &before_[i], nullptr);
  installed = false;
}

int StopSignals::signal() const { return first_signal.load(std::memory_order_relaxed); }

}  // namespace launcher
