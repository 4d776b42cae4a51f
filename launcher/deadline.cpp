#include "launcher/deadline.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "launcher/error.h"
#include "launcher/stalled.h"
#include "launcher/standard_error.h"

namespace launcher {
namespace {

constexpr double kLookSeconds = 1;

// "rank 3 on node7"; before MPI is up by what has started the process.
std::string Name() {
  if (const std::string label = internal::ProcessLabel(); label.find('?') == std::string::npos) return label;
  char host[256] = "";
  gethostname(host, sizeof(host) - 1);
  const char* rank = std::getenv("PMIX_RANK");
  return absl::StrFormat("rank %s on %s", rank != nullptr ? rank : "?", host);
}

}  // namespace

struct Deadline::State {
  std::mutex mutex;
  std::condition_variable done_changed;
  bool done = false;  // guarded by mutex
};

Deadline::Deadline(double seconds, std::string what) : state_(std::make_shared<State>()) {
  if (seconds <= 0) return;
  try {
    // Detached: whoever is destroyed need not wait for it to wake up.
    std::thread([state = state_, seconds, what = std::move(what)] {
      std::unique_lock lock(state->mutex);
      for (double waited = 0; waited < seconds; waited += kLookSeconds) {
        const std::chrono::duration<double> look(std::min(kLookSeconds, seconds - waited));
        if (state->done_changed.wait_for(lock, look, [&] { return state->done; })) return;
      }
      const std::string line = absl::StrFormat(
          "%s: %s for %.0f s: a rank or a host does not answer; see which one, and start again%s: not kept\n",
          Name(), what, seconds, kStallMark);
      WriteToStandardError(line);
      std::_Exit(kExitStalled);
    }).detach();
  } catch (const std::system_error&) {
    // No thread can be had: without it, then.
  }
}

Deadline::~Deadline() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->done = true;
  }
  state_->done_changed.notify_all();
}

double StartSeconds() {
  constexpr double kDefault = 300;
  const char* text = std::getenv("TRAINER_START_SECONDS");
  double seconds = 0;
  return text != nullptr && absl::SimpleAtod(text, &seconds) && seconds >= 0 ? seconds : kDefault;
}

}  // namespace launcher
