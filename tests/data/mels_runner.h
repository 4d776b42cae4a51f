#pragma once

// The tool `mels`, run as a user runs it. MELS_BINARY is its path.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "tests/data/dataset_fixtures.h"

namespace data {

struct Outcome {
  int code;  // exit status, or minus the signal that ended it
  std::string out, err;
};

// A run of mels with its output in files.
class Mels {
 public:
  explicit Mels(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), MELS_BINARY);
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, folder_.path("out").c_str(), O_WRONLY | O_CREAT | O_TRUNC,
                                     0644);
    posix_spawn_file_actions_addopen(&actions, 2, folder_.path("err").c_str(), O_WRONLY | O_CREAT | O_TRUNC,
                                     0644);
    const int error = posix_spawn(&pid_, MELS_BINARY, &actions, nullptr, argv.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    if (error != 0) throw std::runtime_error(std::strerror(error));
  }

  void Signal(int signal) const { kill(pid_, signal); }

  Outcome Wait() {
    int status = 0;
    if (waitpid(pid_, &status, 0) != pid_) throw std::runtime_error("waitpid failed");
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status), ReadBytes(folder_.path("out")),
            ReadBytes(folder_.path("err"))};
  }

 private:
  const TemporaryFolder folder_;
  pid_t pid_ = -1;
};

inline Outcome RunMels(std::vector<std::string> arguments) { return Mels(std::move(arguments)).Wait(); }

// stderr but for progress.
inline std::string Complaint(const Outcome& outcome) {
  const size_t place = outcome.err.find("mels: ");
  return place == std::string::npos ? "" : outcome.err.substr(place);
}

inline void ExpectRefused(const std::vector<std::string>& arguments, const std::string& message) {
  const Outcome outcome = RunMels(arguments);
  EXPECT_EQ(outcome.code, 2) << outcome.err;
  const std::string complaint = Complaint(outcome);
  EXPECT_THAT(complaint, ::testing::HasSubstr(message));
  EXPECT_EQ(std::count(complaint.begin(), complaint.end(), '\n'), 1) << complaint;
}

}  // namespace data
