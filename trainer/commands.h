// What the program `trainer` can do: one function a command.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "launcher/mpi_session.h"
#include "launcher/stop_signals.h"
#include "trainer/telemetry/log.h"

namespace trainer {

// Exit codes; scripts rely on them.
inline constexpr int kExitDone = 0;
inline constexpr int kExitFailure = 1;
inline constexpr int kExitBadInput = 2;  // bad usage, or input the user can mend
inline constexpr int kExitStopped = 75;  // stopped on request after saving: run it again to go on

struct TrainArguments {
  std::string config;                  // a path or a bare name
  std::vector<std::string> overrides;  // key=value
  telemetry::Verbosity verbosity = telemetry::Verbosity::kNormal;
  std::string trace;                  // file for the timeline; "" = none
  std::string trace_steps = "10:10";  // FIRST:COUNT
};

// Runs a command. Collective; reports its own success, and returns what went wrong, alike on all ranks.
// `exit_code` is set where it returns OK.
using CommandRun = std::function<absl::Status(const launcher::World& world, int* exit_code)>;

absl::Status Train(const TrainArguments& arguments, const launcher::World& world,
                   const launcher::StopSignals& stop, int* exit_code);

// A subcommand: its options, and what it does with them once they are parsed.
struct Command {
  CLI::App* options;
  CommandRun run;
  // Runs in a world of one; under mpirun with more ranks it is refused. Where `world` has no host, MPI is not
  // up.
  bool one_process = false;
};

// Each declares its subcommand on `app`.
Command AddEvaluate(CLI::App& app);
Command AddPredict(CLI::App& app);
Command AddPreflight(CLI::App& app);
Command AddEmbed(CLI::App& app);
Command AddVerify(CLI::App& app);
Command AddIdentify(CLI::App& app);
Command AddAverage(CLI::App& app);
Command AddReport(CLI::App& app);

// The exit code that goes with a failure.
int ExitCodeOf(const absl::Status& status);

}  // namespace trainer
