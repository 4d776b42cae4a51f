#include "launcher/patience.h"

#include <sched.h>
#include <sys/prctl.h>

#include <ctime>

namespace launcher::internal {
namespace {

constexpr int kWaitsBeforeNaps = 200;
constexpr int kWaitsBeforeLongNaps = kWaitsBeforeNaps + 100;
constexpr long kNapNanoseconds = 20'000;
constexpr long kLongNapNanoseconds = 100'000;

void Nap(long nanoseconds) {
  // Linux rounds a nap up by the thread's timer slack, 50 us unless told otherwise.
  thread_local const bool precise = prctl(PR_SET_TIMERSLACK, 1UL) == 0;
  static_cast<void>(precise);
  const timespec duration{0, nanoseconds};
  nanosleep(&duration, nullptr);  // cut short by a signal: all the better
}

}  // namespace

void Patience::Wait() {
  if (waits_ >= kWaitsBeforeLongNaps) {
    Nap(kLongNapNanoseconds);
    return;
  }
  if (waits_++ < kWaitsBeforeNaps) {
    sched_yield();
  } else {
    Nap(kNapNanoseconds);
  }
}

}  // namespace launcher::internal
