#include "launcher/tool/child_process.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <fstream>

namespace launcher::tool {
namespace {

// A Processes changes this whole process: each test has one of its own, in a process of its own.
template <typename Body>
void InOwnProcess(Body body) {
  const pid_t pid = fork();
  ASSERT_GE(pid, 0);
  if (pid == 0) {
    body();
    _exit(::testing::Test::HasFailure() ? 1 : 0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(pid, &status, 0), pid);
  EXPECT_EQ(status, 0) << "see above";
}

std::vector<std::string> Shell(const std::string& script) { return {"/bin/sh", "-c", script}; }

int ExitCodeOf(Processes& processes, const std::vector<std::string>& argv, const ChildOptions& options = {}) {
  const auto child = processes.Start(argv, options);
  if (!child.ok()) return -1;
  const Event event = processes.Next(20);
  return event.kind == Event::kChildEnded && event.pid == child->pid ? event.exit_code : -1;
}

TEST(ProcessesTest, TellsHowAChildEnded) {
  InOwnProcess([] {
    Processes processes;
    EXPECT_EQ(ExitCodeOf(processes, Shell("exit 0")), 0);
    EXPECT_EQ(ExitCodeOf(processes, Shell("exit 75")), 75);
    EXPECT_EQ(ExitCodeOf(processes, Shell("kill -9 $$")), 137);
    EXPECT_EQ(ExitCodeOf(processes, {"/not/there"},
                         {.out = Stream::kInherit, .err = Stream::kDiscard, .folder = ""}),
              127);
    EXPECT_EQ(ExitCodeOf(processes, Shell("test $PWD = /tmp"),
                         {.out = Stream::kInherit, .err = Stream::kInherit, .folder = "/tmp"}),
              0);
  });
}

TEST(ProcessesTest, AChildStartsWithASessionAndNoSignalHeldBack) {
  InOwnProcess([] {
    Processes processes;
    // Field 6 of /proc/PID/stat is the session. No shell for the masks: it changes them.
    EXPECT_EQ(ExitCodeOf(processes, Shell("set -- $(cat /proc/$$/stat); test $6 = $$")), 0);
    EXPECT_EQ(ExitCodeOf(processes, {"/bin/grep", "-Eq", "^SigBlk:.0+$", "/proc/self/status"}), 0);
    EXPECT_EQ(ExitCodeOf(processes, {"/bin/grep", "-Eq", "^SigIgn:.0+$", "/proc/self/status"}), 0);
    EXPECT_EQ(ExitCodeOf(processes, Shell("! read line")), 0);  // standard input is at its end
  });
}

TEST(ProcessesTest, SignalsComeAsEvents) {
  InOwnProcess([] {
    signal(SIGHUP, SIG_IGN);  // as nohup does
    Processes processes;
    EXPECT_EQ(processes.Next(0).kind, Event::kTimeout);
    for (const int number : {SIGUSR1, SIGTERM, SIGINT}) {
      kill(getpid(), number);
      const Event event = processes.Next(20);
      EXPECT_EQ(event.kind, Event::kSignal);
      EXPECT_EQ(event.signal, number);
    }
    kill(getpid(), SIGHUP);
    EXPECT_EQ(processes.Next(0.05).kind, Event::kTimeout);
  });
}

TEST(ProcessesTest, OrphansAreEnded) {
  InOwnProcess([] {
    Processes processes;
    // Each leaves one behind; the second's does not heed SIGTERM, the third's is of another session.
    EXPECT_EQ(ExitCodeOf(processes, Shell("sleep 100 & exit 3")), 3);
    EXPECT_EQ(ExitCodeOf(processes, Shell("(trap '' TERM; sleep 100) & exit 3")), 3);
    EXPECT_EQ(ExitCodeOf(processes, Shell("setsid sleep 100 & exit 3")), 3);
    EXPECT_NE(waitpid(-1, nullptr, WNOHANG), -1) << "there are none";
    const auto start = std::chrono::steady_clock::now();
    EXPECT_TRUE(processes.EndAll(0.1));
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
    EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1);
    EXPECT_EQ(errno, ECHILD);
  });
}

TEST(ProcessesTest, AChildDoesNotOutliveItsLauncher) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const pid_t launcher = fork();
  ASSERT_GE(launcher, 0);
  if (launcher == 0) {
    Processes processes;
    const auto child = processes.Start({"/bin/sleep", "100"}, {});
    const pid_t pid = child.ok() ? child->pid : -1;
    if (write(ends[1], &pid, sizeof(pid)) != sizeof(pid)) _exit(1);
    for (;;) pause();
  }
  pid_t child = -1;
  ASSERT_EQ(read(ends[0], &child, sizeof(child)), static_cast<ssize_t>(sizeof(child)));
  ASSERT_GT(child, 0);
  ASSERT_EQ(kill(launcher, SIGKILL), 0);
  ASSERT_EQ(waitpid(launcher, nullptr, 0), launcher);
  const auto lives = [child] {
    std::ifstream file("/proc/" + std::to_string(child) + "/stat");
    std::string stat;
    std::getline(file, stat);
    return !stat.empty() && stat.find(") Z") == std::string::npos;
  };
  for (int i = 0; i < 500 && lives(); ++i) usleep(10'000);
  EXPECT_FALSE(lives());
}

}  // namespace
}  // namespace launcher::tool
