#include "launcher/mpi_wait.h"

#include <sched.h>
#include <sys/prctl.h>

#include <cerrno>
#include <ctime>

#include "launcher/error.h"

namespace launcher::internal {
namespace {

constexpr int kTestsBeforeNaps = 200;
constexpr int kTestsBeforeLongNaps = kTestsBeforeNaps + 100;
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

bool WaitAll(MPI_Request* requests, int count, const char* hint, const std::atomic<bool>* cancel) {
  for (int tests = 0;; ++tests) {
    int done = 0;
    LAUNCHER_MPI(MPI_Testall(count, requests, &done, MPI_STATUSES_IGNORE), hint);
    if (done) return true;
    if (cancel != nullptr && cancel->load(std::memory_order_relaxed)) return false;
    if (tests < kTestsBeforeNaps) {
      sched_yield();
    } else {
      Nap(tests < kTestsBeforeLongNaps ? kNapNanoseconds : kLongNapNanoseconds);
    }
  }
}

}  // namespace launcher::internal
