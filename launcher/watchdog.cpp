#include "launcher/watchdog.h"

#include <mpi.h>
#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <exception>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "launcher/error.h"
#include "launcher/stall.h"
#include "launcher/stalled.h"
#include "launcher/standard_error.h"
#include "launcher/waiting.h"

namespace launcher {
namespace {

using internal::Event;
using internal::RankState;
using Clock = std::chrono::steady_clock;

constexpr int kTag = 0x57a11;  // see Note [Messages]
constexpr char kWatchHint[] = "Has another rank died, or does it run another version of this program?";
constexpr size_t kEvents = 64;          // of each rank; 24 bytes each
constexpr double kLooksALimit = 20;     // how often to look within the shortest limit, and
constexpr double kShortestLook = 0.05;  // the bounds of that, in seconds
constexpr double kLongestLook = 1;
constexpr double kFarewellLook = 0.002;  // while only the other ranks' last messages are missing
constexpr double kBrokenSeconds = 10;    // that the main thread has to say itself what has failed
constexpr double kTurnSeconds = 0.5;     // between ranks that speak for themselves
constexpr int kTurns = 40;               // beyond these, together
constexpr double kFileSeconds = 5;       // for what may block at the end
constexpr double kFlushSeconds = 0.5;
constexpr double kLastResortSeconds = 20;

// What one rank tells another, as bytes: all ranks are the same program on the same kind of processor.
struct Report {
  int32_t left = 0;  // the last one
  int32_t waits = 0;
  int32_t phase = 0;
  int32_t part = -1;
  int32_t sum = -1;
  int32_t events_used = 0;
  int64_t step = 0;
  int64_t nanoseconds = 0;
  double idle_seconds = 0;
  double limit_seconds = 0;
  double unix_seconds = 0;
  char host[64] = "";
  Event events[kEvents];
};
static_assert(std::is_trivially_copyable_v<Report>);

RankState ToState(const Report& report, double silent_seconds) {
  RankState state;
  state.host = report.host;
  state.step = report.step;
  state.phase = report.phase;
  state.part = report.part;
  state.sum = report.sum;
  state.waits = report.waits != 0;
  state.left = report.left != 0;
  state.idle_seconds = report.idle_seconds;
  state.limit_seconds = report.limit_seconds;
  state.silent_seconds = silent_seconds;
  state.unix_seconds = report.unix_seconds;
  state.nanoseconds = report.nanoseconds;
  const int used = std::clamp(report.events_used, 0, static_cast<int>(kEvents));
  state.events.assign(report.events, report.events + used);
  return state;
}

// Runs `work`, which may block for ever, and waits for it as long as that. False where it is not over by
// then.
bool RunWithin(double seconds, std::function<void()> work) {
  struct Outcome {
    std::mutex mutex;
    std::condition_variable over;
    bool done = false;
  };
  auto outcome = std::make_shared<Outcome>();
  try {
    std::thread([outcome, work = std::move(work)] {
      work();
      const std::lock_guard lock(outcome->mutex);
      outcome->done = true;
      outcome->over.notify_all();
    }).detach();
  } catch (const std::system_error&) {
    return false;  // no thread can be had any more
  }
  std::unique_lock lock(outcome->mutex);
  return outcome->over.wait_for(lock, std::chrono::duration<double>(seconds), [&] { return outcome->done; });
}

std::string FileName() {
  char text[32];
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  std::strftime(text, sizeof(text), "stall-%Y%m%dT%H%M%S.jsonl", &local);
  return text;
}

}  // namespace

class Watchdog::Watch {
 public:
  Watch(Watchdog& dog, const World& world, WatchdogOptions options)
      : dog_(dog),
        world_(world),
        options_(std::move(options)),
        exceptions_at_start_(std::uncaught_exceptions()) {
    double shortest = 0;
    for (const auto& phase : options_.phases) {
      names_.push_back(phase.name);
      const double limit = phase.limit_seconds;
      if (limit > 0) shortest = shortest > 0 ? std::min(shortest, limit) : limit;
    }
    shortest_limit_ = shortest;
    look_ = std::clamp(shortest / kLooksALimit, kShortestLook, kLongestLook);
    for (int peer = 0; peer < world_.size; ++peer) {
      const bool linked = world_.rank <= 1 || peer <= 1;
      if (peer != world_.rank && linked) links_.emplace_back(peer);
    }
    for (Link& link : links_) Receive(link);
    last_look_ = Clock::now();
    thread_ = std::thread([this] { Run(); });
  }

  // Watches until the other ranks say that they leave, too; not where an exception is unwinding.
  ~Watch() {
    const bool unwinding = std::uncaught_exceptions() > exceptions_at_start_;
    {
      const std::lock_guard lock(mutex_);
      (unwinding ? abandoned_ : leaving_) = true;
    }
    wake_.notify_all();
    thread_.join();
    for (Link& link : links_) {
      // MPI may still write to it.
      if (link.sending != MPI_REQUEST_NULL || link.receiving != MPI_REQUEST_NULL) {
        static_cast<void>(link.buffers.release());
      }
    }
  }

  void Guard(Hooks hooks) {
    const std::lock_guard lock(hooks_mutex_);
    hooks_ = std::move(hooks);
  }

 private:
  struct Buffers {
    Report sent;
    Report received;
  };
  // To a rank that is told how this one is, and that tells how it is.
  struct Link {
    explicit Link(int rank) : peer(rank), buffers(std::make_unique<Buffers>()) {}
    int peer;
    std::unique_ptr<Buffers> buffers;
    MPI_Request sending = MPI_REQUEST_NULL;
    MPI_Request receiving = MPI_REQUEST_NULL;
    std::optional<Report> last;  // received
    double silent_seconds = 0;
    bool said_farewell = false;  // this rank to that one
    bool left() const { return last && last->left != 0; }
  };

  void Run() {
    pthread_setname_np(pthread_self(), "watchdog");
    try {
      std::unique_lock lock(mutex_);
      while (!abandoned_) {
        const bool leaving = leaving_;
        lock.unlock();
        if (Look(leaving)) return;
        lock.lock();
        const double pause = leaving ? kFarewellLook : look_;
        wake_.wait_for(lock, std::chrono::duration<double>(pause),
                       [&] { return abandoned_ || leaving_ != leaving; });
      }
    } catch (const Error&) {
      // MPI fails, so some rank is gone: the main thread runs into the same, or mpirun ends this one.
    }
  }

  // True where all is over in good order.
  bool Look(bool leaving) {
    const auto now = Clock::now();
    // See Note [Time].
    const double passed =
        std::min(std::chrono::duration<double>(now - last_look_).count(), 2 * std::max(look_, kShortestLook));
    last_look_ = now;
    const uint64_t count = dog_.ring_.count();
    idle_seconds_ = count == count_ ? idle_seconds_ + passed : 0;
    count_ = count;

    const Report own = MakeReport(leaving);
    bool over = leaving;
    for (Link& link : links_) {
      link.silent_seconds += passed;
      while (Test(link.receiving)) {
        if (link.left()) break;
        link.last = link.buffers->received;
        link.silent_seconds = 0;
        if (!link.left()) Receive(link);
      }
      // While the one before is on its way there is none that could overtake it.
      if (Test(link.sending) && !link.said_farewell) {
        link.buffers->sent = own;
        LAUNCHER_MPI(MPI_Isend(&link.buffers->sent, sizeof(Report), MPI_BYTE, link.peer, kTag, MPI_COMM_WORLD,
                               &link.sending),
                     kWatchHint);
        link.said_farewell = own.left != 0;
      }
      over = over && link.left() && link.said_farewell && Test(link.sending);
    }
    if (over) return true;
    Judge(own, passed);
    CheckHealth(own, passed);
    return false;
  }

  Report MakeReport(bool leaving) const {
    Report report;
    report.left = leaving ? 1 : 0;
    report.phase = dog_.phase_.load(std::memory_order_relaxed);
    report.step = dog_.step_.load(std::memory_order_relaxed);
    report.part = dog_.part_.load(std::memory_order_relaxed);
    report.sum = dog_.sum_.load(std::memory_order_relaxed);
    const auto& phase = options_.phases.at(static_cast<size_t>(report.phase));
    report.waits = leaving || phase.waits || internal::waiting_for_ranks.load(std::memory_order_relaxed) > 0;
    report.idle_seconds = idle_seconds_;
    report.limit_seconds = phase.limit_seconds;
    if (report.limit_seconds > 0 && dog_.set_up_.load(std::memory_order_relaxed)) {
      report.limit_seconds = std::max(report.limit_seconds, options_.set_up_seconds);
    }
    report.nanoseconds = internal::EventRing::Now();
    report.unix_seconds =
        std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
    world_.host.copy(report.host, sizeof(report.host) - 1);
    const auto events = dog_.ring_.Last(kEvents);
    report.events_used = static_cast<int32_t>(events.size());
    std::copy(events.begin(), events.end(), report.events);
    return report;
  }

  void Receive(Link& link) {
    LAUNCHER_MPI(MPI_Irecv(&link.buffers->received, sizeof(Report), MPI_BYTE, link.peer, kTag, MPI_COMM_WORLD,
                           &link.receiving),
                 kWatchHint);
  }

  static bool Test(MPI_Request& request) {
    int done = 0;
    LAUNCHER_MPI(MPI_Test(&request, &done, MPI_STATUS_IGNORE), kWatchHint);
    return done != 0;
  }

  // Whether it is for this rank to judge; see Note [Who is late].
  bool IsJudge() const {
    return std::all_of(links_.begin(), links_.end(), [this](const Link& link) {
      const bool is_above = link.peer < std::min(world_.rank, 2);
      return !is_above || (!link.left() && link.silent_seconds >= shortest_limit_ / 2);
    });
  }

  void Judge(const Report& own, double passed) {
    const auto stall = IsJudge() ? internal::JudgeStall(States(own)) : std::nullopt;
    stalled_seconds_ = stall ? stalled_seconds_ + passed : 0;
    // Ranks from 2 on do not hear of each other: one after the other, so that the first one ends the rest.
    if (!stall || stalled_seconds_ < kTurnSeconds * std::clamp(world_.rank - 2, 0, kTurns)) return;
    const auto ranks = States(own);
    std::string line = internal::DescribeStall(*stall, ranks, names_);
    if (!options_.advice.empty()) absl::StrAppend(&line, "; ", options_.advice);
    End(line, internal::StallToJsonLines(*stall, line, ranks, names_));
  }

  // What this rank knows of all.
  std::vector<RankState> States(const Report& own) const {
    RankState unknown;
    unknown.left = true;  // of whom this rank hears nothing, it says nothing
    std::vector<RankState> ranks(static_cast<size_t>(world_.size), unknown);
    ranks[static_cast<size_t>(world_.rank)] = ToState(own, 0);
    ranks[static_cast<size_t>(world_.rank)].left = false;  // it is still here
    for (const Link& link : links_) {
      ranks[static_cast<size_t>(link.peer)] = ToState(link.last.value_or(Report()), link.silent_seconds);
    }
    return ranks;
  }

  void CheckHealth(const Report& own, double passed) {
    absl::Status health;
    {
      const std::lock_guard lock(hooks_mutex_);
      if (hooks_.health) health = hooks_.health();
    }
    broken_seconds_ = health.ok() ? 0 : broken_seconds_ + passed;
    // One after the other: the first one's abort spares the others' lines.
    if (broken_seconds_ < kBrokenSeconds + kTurnSeconds * std::min(world_.rank, kTurns)) return;
    RankState state = ToState(own, 0);
    const internal::Stall stall{.why = internal::Late::kStuck, .rank = world_.rank, .seconds = idle_seconds_};
    const std::string line = absl::StrCat(internal::ProcessLabel(), ": step ", own.step, ", ",
                                          names_.at(static_cast<size_t>(own.phase)), ": ", health.message());
    std::vector<RankState> ranks(static_cast<size_t>(world_.size));
    ranks[static_cast<size_t>(world_.rank)] = std::move(state);
    End(line, internal::StallToJsonLines(stall, line, ranks, names_));
  }

  [[noreturn]] void End(std::string line, std::string events) {
    const int code = options_.exit_code;
    // Whatever blocks from here on: mpirun ends the others once one has failed.
    try {
      std::thread([code] {
        std::this_thread::sleep_for(std::chrono::duration<double>(kLastResortSeconds));
        std::_Exit(code);
      }).detach();
    } catch (const std::system_error&) {
      // Without it, then.
    }
    absl::StrAppend(&line, kStallMark,
                    options_.folder.empty() ? ": not kept" : WriteEvents(std::move(events)));
    WriteToStandardError(absl::StrCat(line, "\n"));
    Hooks hooks;
    // Asking for the health may block, but holds the lock.
    std::unique_lock lock(hooks_mutex_, std::try_to_lock);
    if (lock.owns_lock()) hooks = hooks_;
    if (hooks.abort) RunWithin(kFileSeconds, hooks.abort);
    // What is in buffers, unless a stuck thread holds their locks.
    RunWithin(kFlushSeconds, [] { std::fflush(nullptr); });
    internal::EndWorld(code);
  }

  // Says where they are, to follow kStallMark.
  std::string WriteEvents(std::string events) const {
    const auto path = std::filesystem::path(options_.folder) / FileName();
    auto written = std::make_shared<std::atomic<bool>>(false);
    const bool in_time = RunWithin(kFileSeconds, [path, written, events = std::move(events)] {
      std::ofstream file(path, std::ios::binary | std::ios::app);
      file << events;
      file.close();
      *written = !file.fail();
    });
    if (in_time && *written) return absl::StrCat(": ", path.string());
    return absl::StrCat(" could not be written to ", path.string(),
                        in_time ? "" : ", whose file system does not answer");
  }

  Watchdog& dog_;
  const World world_;
  const WatchdogOptions options_;
  const int exceptions_at_start_;
  std::vector<std::string> names_;  // of the phases
  double shortest_limit_ = 0;
  double look_ = kLongestLook;  // seconds between two looks

  // The thread's own, from here
  std::vector<Link> links_;
  Clock::time_point last_look_;
  uint64_t count_ = 0;  // of events, at the last look
  double idle_seconds_ = 0;
  double broken_seconds_ = 0;
  double stalled_seconds_ = 0;
  // to here

  std::mutex hooks_mutex_;
  Hooks hooks_;  // guarded by hooks_mutex_
  std::mutex mutex_;
  std::condition_variable wake_;
  bool leaving_ = false;    // guarded by mutex_
  bool abandoned_ = false;  // guarded by mutex_
  std::thread thread_;      // last: uses all of the above
};

Watchdog::Watchdog(const World& world, WatchdogOptions options) {
  LAUNCHER_REQUIRE(!options.phases.empty(), "Give the watchdog's phases");
  Enter(0, 0);  // so that the first report has an event
  watch_ = std::make_unique<Watch>(*this, world, std::move(options));
}

Watchdog::~Watchdog() = default;

void Watchdog::Guard(Hooks hooks) { watch_->Guard(std::move(hooks)); }

}  // namespace launcher
