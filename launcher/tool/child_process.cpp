#include "launcher/tool/child_process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "launcher/stop_signal.h"

namespace launcher::tool {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

[[noreturn]] void Throw(const char* what) { throw std::system_error(errno, std::generic_category(), what); }

bool IsIgnored(int signal) {
  struct sigaction action = {};
  return sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
}

void Redirect(Stream stream, int pipe, int fd) {
  if (stream == Stream::kPipe) dup2(pipe, fd);
  if (stream != Stream::kDiscard) return;
  if (const int null = open("/dev/null", O_WRONLY); null >= 0) dup2(null, fd);
}

[[noreturn]] void BecomeChild(char* const* argv, const ChildOptions& options, const int out, const int err,
                              pid_t parent, const sigset_t& mask) {
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != parent) _exit(127);  // it died before it could be asked to tell
  setsid();
  if (const int null = open("/dev/null", O_RDONLY); null >= 0) dup2(null, STDIN_FILENO);
  Redirect(options.out, out, STDOUT_FILENO);
  Redirect(options.err, err, STDERR_FILENO);
  signal(SIGPIPE, SIG_DFL);
  signal(UnchosenStopSignal(), SIG_DFL);
  sigprocmask(SIG_SETMASK, &mask, nullptr);
  if (options.folder.empty() || chdir(options.folder.c_str()) == 0) execv(argv[0], argv);
  dprintf(STDERR_FILENO, "launcher: cannot start %s: %s\n", argv[0], std::strerror(errno));
  _exit(127);
}

absl::Status NoMore(const char* what) {
  return absl::ResourceExhaustedError(
      absl::StrCat("cannot start another process: ", what, ": ", std::strerror(errno)));
}

// Those whose parent is this process.
std::vector<pid_t> OwnChildren() {
  std::vector<pid_t> children;
  std::error_code error;
  for (std::filesystem::directory_iterator entry("/proc", error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename();
    pid_t pid = 0;
    if (std::from_chars(name.data(), name.data() + name.size(), pid).ptr != name.data() + name.size())
      continue;
    std::ifstream file(entry->path() / "stat");
    std::string stat;
    std::getline(file, stat);
    const size_t behind_name = stat.rfind(')');  // the name may hold anything
    char state = 0;
    pid_t parent = 0;
    if (behind_name != std::string::npos &&
        std::sscanf(stat.c_str() + behind_name + 1, " %c %d", &state, &parent) == 2 && parent == getpid()) {
      children.push_back(pid);
    }
  }
  return children;
}

}  // namespace

Processes::Processes() {
  sigemptyset(&taken_);
  sigaddset(&taken_, SIGCHLD);
  for (const int signal : {ChosenStopSignal(), SIGTERM, SIGINT, SIGHUP}) {
    // nohup and the shell's `&` ignore some on purpose; one that is blocked would come through nevertheless.
    if (!IsIgnored(signal)) sigaddset(&taken_, signal);
  }
  signal(SIGCHLD, SIG_DFL);  // where it is ignored, ends are not told
  if (sigprocmask(SIG_BLOCK, &taken_, &mask_before_) != 0) Throw("sigprocmask");
  signal(SIGPIPE, SIG_IGN);
  signal(UnchosenStopSignal(), SIG_IGN);
  signals_ = Fd(signalfd(-1, &taken_, SFD_CLOEXEC | SFD_NONBLOCK));
  if (signals_.get() < 0) Throw("signalfd");
  if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) Throw("prctl(PR_SET_CHILD_SUBREAPER)");
}

absl::StatusOr<Child> Processes::Start(const std::vector<std::string>& argv,
                                       const ChildOptions& options) const {
  std::vector<char*> words;
  words.reserve(argv.size() + 1);
  for (const auto& word : argv) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  Fd theirs[2];
  Child child;
  for (int i = 0; i < 2; ++i) {
    if ((i == 0 ? options.out : options.err) != Stream::kPipe) continue;
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return NoMore("pipe");
    (i == 0 ? child.out : child.err) = Fd(ends[0]);
    theirs[i] = Fd(ends[1]);
  }
  const pid_t parent = getpid();
  child.pid = fork();
  if (child.pid < 0) return NoMore("fork");
  if (child.pid == 0)
    BecomeChild(words.data(), options, theirs[0].get(), theirs[1].get(), parent, mask_before_);
  return child;
}

Event Processes::Next(double seconds, int readable) {
  const auto start = Clock::now();
  for (;;) {
    int status = 0;
    if (const pid_t pid = waitpid(-1, &status, WNOHANG); pid > 0) {
      const int code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
      return {.kind = Event::kChildEnded, .pid = pid, .exit_code = code};
    }
    const double left = seconds - SecondsSince(start);
    if (seconds >= 0 && left <= 0) return {.kind = Event::kTimeout};
    pollfd watched[] = {{.fd = signals_.get(), .events = POLLIN, .revents = 0},
                        {.fd = readable, .events = POLLIN, .revents = 0}};
    const int limit_ms = seconds < 0 ? -1 : static_cast<int>(std::ceil(std::min(left, 3600.0) * 1e3));
    if (poll(watched, 2, limit_ms) < 0 && errno != EINTR) Throw("poll");
    signalfd_siginfo info;
    if (read(signals_.get(), &info, sizeof(info)) == sizeof(info)) {
      if (info.ssi_signo != SIGCHLD)
        return {.kind = Event::kSignal, .signal = static_cast<int>(info.ssi_signo)};
    } else if (watched[1].revents != 0) {
      return {.kind = Event::kReadable};
    }
  }
}

bool Processes::EndAll(double grace_seconds) {
  constexpr double kPatienceSeconds = 10;  // for what the kernel holds on to
  const auto start = Clock::now();
  for (;;) {
    const pid_t ended = waitpid(-1, nullptr, WNOHANG);
    if (ended < 0) return true;  // there are no more children
    if (ended > 0) continue;
    const double seconds = SecondsSince(start);
    if (seconds > grace_seconds + kPatienceSeconds) return false;
    if (seconds > grace_seconds) {
      for (const pid_t pid : OwnChildren()) kill(pid, SIGKILL);
    }
    poll(nullptr, 0, 20);
  }
}

}  // namespace launcher::tool
