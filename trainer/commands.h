// What the program `trainer` can do: one function a command.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "launcher/mpi_session.h"

namespace trainer {

// Exit codes; scripts rely on them.
inline constexpr int kExitDone = 0;
inline constexpr int kExitFailure = 1;
inline constexpr int kExitBadInput = 2;  // bad usage, or input the user can mend
inline constexpr int kExitStopped = 75;  // stopped on request after saving: run it again to go on

struct TrainArguments {
  std::string config;                  // a path or a bare name
  std::vector<std::string> overrides;  // key=value
};

struct EvaluateArguments {
  std::string checkpoint;  // a checkpoint folder or a link to one
  std::string data;        // a data set's folder
  std::string split = "test";
  int64_t frames = 0;  // only the first so many frames of each utterance; 0: all
  std::string device = "auto";
  int threads = 0;
};

// Each is collective, reports its own success, and returns what went wrong, alike on all ranks. `exit_code`
// is set where it returns OK.
absl::Status Train(const TrainArguments& arguments, const launcher::World& world, int* exit_code);
absl::Status Evaluate(const EvaluateArguments& arguments, const launcher::World& world, int* exit_code);

// The exit code that goes with a failure.
int ExitCodeOf(const absl::Status& status);

}  // namespace trainer
