#include "launcher/tool/supervisor.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "launcher/stalled.h"
#include "launcher/standard_error.h"
#include "launcher/stop_signal.h"
#include "launcher/tool/command_line.h"
#include "launcher/tool/mpirun_words.h"
#include "launcher/tool/placement.h"
#include "launcher/tool/restart_policy.h"
#include "launcher/tool/run_folder.h"
#include "launcher/tool/stop_relay.h"

namespace launcher::tool {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kLookSeconds = 0.1;  // between looks whether the ranks are up, while a stop waits for them
constexpr double kOrphanSeconds = 2;  // in which a rank notices that its mpirun is gone
constexpr double kStallSeconds = 30;  // that mpirun has to end once a watchdog has ended the run
constexpr size_t kKeptBytes = 16 << 10;  // of standard error, to find out who failed

void Say(const std::string& line) { WriteToStandardError(absl::StrCat("launcher: ", line, "\n")); }

std::string Now() {
  char text[32];
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  std::strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &local);
  return text;
}

std::string Duration(double seconds) {
  if (seconds < 60) return absl::StrFormat("%.1f s", seconds);
  const auto whole = static_cast<int64_t>(seconds);
  return absl::StrFormat("%d:%02d:%02d", whole / 3600, whole / 60 % 60, whole % 60);
}

// "SIGTERM"
std::string NameOfSignal(int signal) {
  const char* name = sigabbrev_np(signal);
  return name == nullptr ? absl::StrCat("signal ", signal) : absl::StrCat("SIG", name);
}

// One failed start, for the summary.
struct Failure {
  std::string time;
  double seconds = 0;
  int ranks = 0;
  int exit_code = 0;
  Progress progress;
  std::string culprit;

  std::string Where() const {
    return progress.made_step() ? absl::StrCat("at step ", progress.step) : "before its first step";
  }
  std::string What() const {
    std::string what = absl::StrCat("exit code ", exit_code);
    if (!culprit.empty()) absl::StrAppend(&what, ", ", culprit);
    return what;
  }
};

class Supervisor {
 public:
  Supervisor(const Settings& settings, Processes& processes)
      : settings_(settings), processes_(processes), placer_(settings, processes) {}

  int Run();

 private:
  // The exit code to end with, or nothing where all is well.
  std::optional<int> ReadConfiguration();
  Failure RunOnce(const Placement& placement);
  void PassOn(int signal, pid_t mpirun);
  // Whether mpirun has had its time to end since a watchdog ended the run.
  bool IsHung() const;
  // Passes on what is there, or until the end. False once the writers are gone.
  bool RelayErrors(int fd);
  // False where a signal came meanwhile.
  bool Wait(double seconds);
  int StoppedBetween();
  int GiveUp(const std::string& why, int exit_code);
  std::string Source() const;

  const Settings& settings_;
  Processes& processes_;
  Placer placer_;
  RunConfig config_;
  std::optional<RunFolder> run_;
  StopRelay relay_;
  std::string errors_;                        // the last that was written to standard error in this start
  std::optional<Clock::time_point> stalled_;  // when a watchdog said in it that it ends the run
  std::vector<Failure> failures_;
};

std::optional<int> Supervisor::ReadConfiguration() {
  auto command = settings_.program;
  command.emplace_back("--print-config");
  const auto child =
      processes_.Start(command, {.out = Stream::kPipe, .err = Stream::kInherit, .folder = settings_.folder});
  if (!child.ok()) return GiveUp(std::string(child.status().message()), kExitFailure);
  std::string yaml;
  int fd = child->out.get();
  for (;;) {
    const Event event = processes_.Next(-1, fd);
    if (event.kind == Event::kReadable) {
      char buffer[4096];
      const ssize_t bytes = read(fd, buffer, sizeof(buffer));
      if (bytes > 0) yaml.append(buffer, static_cast<size_t>(bytes));
      if (bytes == 0) fd = -1;
    } else if (event.kind == Event::kSignal) {
      kill(child->pid, SIGTERM);
      processes_.EndAll(/*grace_seconds=*/1);
      return StoppedBetween();
    } else if (event.kind == Event::kChildEnded && event.pid == child->pid) {
      for (char buffer[4096]; fd >= 0;) {
        const ssize_t bytes = read(fd, buffer, sizeof(buffer));
        if (bytes <= 0) break;
        yaml.append(buffer, static_cast<size_t>(bytes));
      }
      if (event.exit_code == kExitBadInput) return kExitBadInput;  // the program has said why
      const auto config = ReadRunConfig(yaml);
      if (event.exit_code == 0 && config.ok()) {
        config_ = *config;
        break;
      }
      Say(absl::StrCat("`", absl::StrJoin(command, " "), "` ends with ", event.exit_code,
                       event.exit_code == 0 ? absl::StrCat(" and prints ", config.status().message()) : "",
                       "; the launcher starts training runs: launcher -np 2 trainer --config FILE"));
      return kExitBadInput;
    }
  }
  run_.emplace((std::filesystem::path(settings_.folder) / config_.dir).string());
  return std::nullopt;
}

void Supervisor::PassOn(int signal, pid_t mpirun) {
  const bool first = !relay_.requested();
  const int sent = relay_.OnSignal(signal, first && run_->SinceMark().ranks_are_up);
  if (sent == 0) {
    if (signal != ChosenStopSignal())
      Say(absl::StrCat(NameOfSignal(signal), ": the run is saving already; once more ends it at once"));
    return;
  }
  kill(mpirun, sent);
  Say(sent == ChosenStopSignal()
          ? absl::StrCat(NameOfSignal(signal), ": the run is asked to save and stop")
          : absl::StrCat(NameOfSignal(signal), " again: mpirun is told to end the run at once"));
}

bool Supervisor::RelayErrors(int fd) {
  char buffer[4096];
  for (;;) {
    const ssize_t bytes = read(fd, buffer, sizeof(buffer));
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes < 0) return errno == EAGAIN;
    if (bytes == 0) return false;
    const std::string_view piece(buffer, static_cast<size_t>(bytes));
    WriteToStandardError(piece);
    errors_.append(piece);
    if (!stalled_ && errors_.find(kStallMark) != std::string::npos) stalled_ = Clock::now();
    if (errors_.size() > 2 * kKeptBytes) errors_.erase(0, errors_.size() - kKeptBytes);
  }
}

bool Supervisor::IsHung() const {
  return stalled_ && Clock::now() - *stalled_ >= std::chrono::duration<double>(kStallSeconds);
}

Failure Supervisor::RunOnce(const Placement& placement) {
  std::vector<std::string> command = {settings_.mpirun, "-np", absl::StrCat(placement.ranks), "-x",
                                      "TRAINER_RESTARTS"};
  // To other hosts mpirun takes of the environment only what it is told to.
  for (const char* variable : {kStopSignalVariable, "TRAINER_START_SECONDS"}) {
    if (std::getenv(variable) != nullptr) command.insert(command.end(), {"-x", variable});
  }
  if (!SettlesBinding(settings_.mpirun_words) &&
      std::getenv("OMPI_MCA_hwloc_base_binding_policy") == nullptr) {
    command.insert(command.end(), {"--bind-to", "none"});
  }
  command.insert(command.end(), placement.mpirun_words.begin(), placement.mpirun_words.end());
  command.insert(command.end(), settings_.program.begin(), settings_.program.end());
  setenv("TRAINER_RESTARTS", absl::StrCat(failures_.size()).c_str(), /*overwrite=*/1);

  run_->MarkStart();
  errors_.clear();
  stalled_.reset();
  const auto start = Clock::now();
  Failure end;
  end.ranks = placement.ranks;
  const auto mpirun =
      processes_.Start(command, {.out = Stream::kInherit, .err = Stream::kPipe, .folder = ""});
  if (!mpirun.ok()) {
    end.exit_code = kExitFailure;
    end.culprit = std::string(mpirun.status().message());
    end.time = Now();
    return end;
  }
  int errors = mpirun->err.get();
  fcntl(errors, F_SETFL, O_NONBLOCK);
  bool given_up = false;
  for (bool running = true; running;) {
    const double look = relay_.waits_for_ranks() ? kLookSeconds : stalled_ && !given_up ? 1 : -1;
    const Event event = processes_.Next(look, errors);
    switch (event.kind) {
      case Event::kSignal:
        PassOn(event.signal, mpirun->pid);
        break;
      case Event::kReadable:
        if (!RelayErrors(errors)) errors = -1;
        break;
      case Event::kTimeout:
        if (IsHung() && !given_up) {
          // A host that hangs does not answer mpirun either, which would wait for it for ever.
          Say(absl::StrFormat("mpirun has not ended %g s after the watchdog ended the run: it is killed",
                              kStallSeconds));
          given_up = true;
          kill(mpirun->pid, SIGKILL);
        } else if (relay_.waits_for_ranks() && run_->SinceMark().ranks_are_up) {
          kill(mpirun->pid, relay_.OnRanksAreUp());
        }
        break;
      case Event::kChildEnded:
        running = event.pid != mpirun->pid;
        end.exit_code = given_up ? kExitStalled : event.exit_code;
        break;
    }
  }
  end.seconds = std::chrono::duration<double>(Clock::now() - start).count();
  end.time = Now();
  // Where mpirun was killed its ranks outlive it; the run folder is theirs until they are gone.
  if (!IsOver(end.exit_code) && !processes_.EndAll(kOrphanSeconds))
    Say("some processes of the run do not end, not even when killed");
  if (errors >= 0) RelayErrors(errors);
  end.progress = run_->SinceMark();
  end.culprit = FindCulprit(errors_);
  return end;
}

bool Supervisor::Wait(double seconds) {
  const auto start = Clock::now();
  for (;;) {
    const std::chrono::duration<double> taken = Clock::now() - start;
    const Event event = processes_.Next(std::max(0.0, seconds - taken.count()));
    if (event.kind == Event::kSignal) return false;
    if (event.kind == Event::kTimeout) return true;
  }
}

int Supervisor::StoppedBetween() {
  Say(absl::StrCat("stopped on request with nothing to save; the same command goes on from ",
                   run_ ? Source() : "the last checkpoint"));
  return kExitStopped;
}

std::string Supervisor::Source() const {
  const int64_t step = run_->NewestCheckpoint();
  return step == 0 ? "the beginning: there is no checkpoint yet"
                   : absl::StrCat("the checkpoint of step ", step);
}

int Supervisor::GiveUp(const std::string& why, int exit_code) {
  if (failures_.empty()) {
    Say(why);
    return exit_code;
  }
  Say(absl::StrCat("giving up: ", why, "; ", failures_.size(),
                   failures_.size() == 1 ? " failure:" : " failures:"));
  for (const auto& failure : failures_) {
    Say(absl::StrCat("  ", failure.time, " after ", Duration(failure.seconds), " on ", failure.ranks,
                     " ranks ", failure.Where(), ": ", failure.What()));
  }
  return exit_code;
}

int Supervisor::Run() {
  if (const auto code = ReadConfiguration()) return *code;
  for (;;) {
    const auto placement = placer_.Place(config_);
    if (placement.status().code() == absl::StatusCode::kCancelled) return StoppedBetween();
    if (!placement.ok()) {
      return GiveUp(std::string(placement.status().message()),
                    failures_.empty() ? kExitFailure : failures_.back().exit_code);
    }
    for (const auto& host : placement->lost_hosts)
      Say(absl::StrCat("host ", host, " cannot be reached and is left out"));
    if (placement->ranks != settings_.ranks) {
      Say(absl::StrCat("starting ", placement->ranks, " ranks instead of ", settings_.ranks));
    }

    const Failure end = RunOnce(*placement);
    const int restarts = static_cast<int>(failures_.size());
    const Ending ending{.exit_code = end.exit_code,
                        .made_step = end.progress.made_step(),
                        .saved = end.progress.saved_step >= end.progress.step,
                        .stop_requested = relay_.requested()};
    switch (Judge(ending, restarts, settings_.max_restarts)) {
      case Verdict::kPassOn:
        if (!IsOver(end.exit_code)) {  // after a request to stop: otherwise it would be no case of kPassOn
          Say(absl::StrCat("the run failed while it was to stop, ", end.Where(), ": ", end.What(),
                           "; the same command goes on from ", Source()));
        } else if (restarts > 0) {
          Say(absl::StrCat("the run ends with ", end.exit_code, " after ", restarts,
                           restarts == 1 ? " restart" : " restarts"));
        }
        return end.exit_code;
      case Verdict::kStopped:
        return end.progress.made_step() ? kExitStopped : StoppedBetween();
      case Verdict::kNoProgress:
        failures_.push_back(end);
        return GiveUp("it failed before its first step, and would again", end.exit_code);
      case Verdict::kUsedUp:
        failures_.push_back(end);
        return GiveUp(absl::StrCat("no restart is left of ", settings_.max_restarts, " (--max-restarts)"),
                      end.exit_code);
      case Verdict::kRestart:
        break;
    }
    failures_.push_back(end);
    const double pause = BackoffSeconds(settings_.backoff_seconds, restarts + 1);
    Say(absl::StrFormat("the run failed %s after %s: %s; restart %d of %d in %g s from %s", end.Where(),
                        Duration(end.seconds), end.What(), restarts + 1, settings_.max_restarts, pause,
                        Source()));
    if (!Wait(pause)) return StoppedBetween();
  }
}

}  // namespace

int Supervise(const Settings& settings, Processes& processes) {
  return Supervisor(settings, processes).Run();
}

}  // namespace launcher::tool
