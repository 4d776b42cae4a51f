// trainer --config FILE [key=value ...] trains; trainer COMMAND ... uses what was trained. Only wiring here.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>

#include "absl/strings/str_cat.h"
#include "data/standard_streams.h"
#include "launcher/mpi_session.h"
#include "launcher/signal_thread.h"
#include "launcher/stop_signal.h"
#include "launcher/stop_signals.h"
#include "trainer/commands.h"
#include "trainer/config/config.h"
#include "trainer/version.h"

namespace trainer {
namespace {

// Whether this process is the one to print what comes before MPI is up: not one of mpirun's or srun's other
// ranks.
bool SpeaksBeforeMpi() {
  for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "SLURM_PROCID"}) {
    if (const char* rank = std::getenv(name); rank != nullptr) return std::atoi(rank) == 0;
  }
  return true;
}

// Says what went wrong on one line, where `aloud`; returns the exit code for it.
int Fail(const absl::Status& status, bool aloud = true) {
  std::string message(status.message());
  std::replace(message.begin(), message.end(), '\n', ' ');  // names of files may have line ends in them
  if (aloud) std::fprintf(stderr, "trainer: %s\n", message.c_str());
  return ExitCodeOf(status);
}

// The end of what was only to be printed.
int AfterPrinting() {
  const absl::Status printed = data::FlushStandardOutput();
  return printed.ok() ? kExitDone : Fail(printed);
}

// The same command, but failing where its answer does not arrive where it is printed.
CommandRun WithAnswer(const CommandRun& command) {
  return [command](const launcher::World& world, int* exit_code) {
    const absl::Status status = command(world, exit_code);
    return status.ok() ? data::FlushStandardOutput() : status;
  };
}

int RunOnAllRanks(int argc, char** argv, const CommandRun& command) {
  try {
    launcher::ReceiveSignalsOnOneThread();
    launcher::MpiSession session(&argc, &argv);
    try {
      const auto world = launcher::World::FromMpi();
      int exit_code = kExitFailure;
      const absl::Status status = command(world, &exit_code);
      if (status.ok()) return exit_code;
      return Fail(status, world.rank == 0);
    } catch (const std::exception& error) {
      // One rank alone met what it cannot go on from: the others must not wait for it.
      launcher::AbortWorld(error.what(), kExitFailure);
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "trainer: %s\n", error.what());
    return kExitFailure;
  }
}

// What one process does alone. MPI comes up first only where something like mpirun started it, for it waits
// for all that it started.
int RunOnOneProcess(int argc, char** argv, const CommandRun& command) {
  const CommandRun alone = [&](const launcher::World& world, int* exit_code) {
    if (world.size == 1) return command(world, exit_code);
    return absl::InvalidArgumentError("this command is the work of one process; start it without mpirun");
  };
  if (std::getenv("PMIX_RANK") != nullptr) return RunOnAllRanks(argc, argv, alone);
  try {
    launcher::ReceiveSignalsOnOneThread();
    int exit_code = kExitFailure;
    const absl::Status status = alone(launcher::World{}, &exit_code);
    return status.ok() ? exit_code : Fail(status);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "trainer: %s\n", error.what());
    return kExitFailure;
  }
}

// What a wrong command line comes to. mpirun ends all ranks once the first has failed, so none may fail
// before rank 0 has spoken: hence MPI, whose end waits for all. A process on its own need not wait for MPI to
// come up.
int Refuse(int argc, char** argv, const absl::Status& status) {
  if (std::getenv("PMIX_RANK") != nullptr) {
    return RunOnAllRanks(argc, argv, [&](const auto&, int*) { return status; });
  }
  return Fail(status, SpeaksBeforeMpi());
}

int PrintConfig(int argc, char** argv, const TrainArguments& arguments) {
  const auto file = config::FindConfigFile(arguments.config, config::ExecutablePath());
  const auto config = file.ok() ? config::LoadConfig(*file, arguments.overrides) : file.status();
  if (!config.ok()) return Refuse(argc, argv, config.status());
  if (SpeaksBeforeMpi()) std::printf("%s", config::ToYaml(*config).c_str());
  return AfterPrinting();
}

int Main(int argc, char** argv) {
  CLI::App app(
      "Trains speaker classifiers on any number of ranks: mpirun -np 8 trainer --config simple.yaml");
  app.set_version_flag("--version", std::string(kVersionLine));
  TrainArguments train;
  bool print_config = false;
  app.add_option("--config", train.config, "the run's configuration: a path, or a name found in configs/");
  app.add_option("overrides", train.overrides, "configuration keys to override, as key=value");
  app.add_flag("--print-config", print_config,
               "print the configuration with all values resolved, and do nothing");

  auto* quiet = app.add_flag_callback(
      "--quiet", [&] { train.verbosity = telemetry::Verbosity::kQuiet; },
      "say only what is amiss; run.dir/train.log holds the rest");
  app.add_flag_callback(
         "--verbose", [&] { train.verbosity = telemetry::Verbosity::kVerbose; },
         "add a line on where the time goes and which rank is slow to each log line")
      ->excludes(quiet);

  auto* trace =
      app.add_option("--trace", train.trace, "write the timeline of some steps of all ranks to this file");
  app.add_option("--trace-steps", train.trace_steps,
                 "FIRST:COUNT, which steps: counted from 1 at this start (" + train.trace_steps + ")")
      ->needs(trace);

  const Command commands[] = {AddPreflight(app), AddEvaluate(app), AddPredict(app), AddEmbed(app),
                              AddVerify(app),    AddIdentify(app), AddAverage(app), AddReport(app)};

  try {
    app.parse(argc, argv);
    if (app.get_subcommands().empty() && train.config.empty()) {
      for (const auto& word : train.overrides) {
        if (word.find('=') == std::string::npos) {
          throw CLI::ParseError("there is no command '" + word + "'", CLI::ExitCodes::ExtrasError);
        }
      }
      throw CLI::RequiredError("--config FILE (try simple.yaml)");
    }
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() != 0) {
      // A misspelt command's options are not known either, but it is the command that is wrong.
      const std::string first = argc > 1 ? argv[1] : "";
      const bool is_word = !first.empty() && first[0] != '-' && first.find('=') == std::string::npos;
      const std::string what = is_word && app.get_subcommands().empty()
                                   ? "there is no command '" + first + "'"
                                   : std::string(error.what());
      return Refuse(argc, argv, absl::InvalidArgumentError(absl::StrCat(what, "; see trainer --help")));
    }
    if (SpeaksBeforeMpi()) app.exit(error);  // --help, --version
    return AfterPrinting();
  }

  for (const auto& command : commands) {
    if (!command.options->parsed()) continue;
    return (command.one_process ? RunOnOneProcess : RunOnAllRanks)(argc, argv, WithAnswer(command.run));
  }
  if (print_config) return PrintConfig(argc, argv, train);
  // From before MPI is up, which takes a second, to the end of the process: a signal meanwhile must neither
  // kill the rank nor turn a saved run into a killed one. Hence never destroyed: other static objects take
  // their time, too.
  const int chosen = launcher::ChosenStopSignal();
  if (chosen == 0) return Refuse(argc, argv, launcher::StopSignalRefused());
  std::signal(launcher::UnchosenStopSignal(), SIG_IGN);
  static const auto& stop = *new launcher::StopSignals(chosen);
  return RunOnAllRanks(argc, argv,
                       [&](const auto& world, int* code) { return Train(train, world, stop, code); });
}

}  // namespace

int ExitCodeOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kDataLoss:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kOutOfRange:
      return kExitBadInput;
    default:
      return kExitFailure;
  }
}

}  // namespace trainer

int main(int argc, char** argv) {
  data::FillClosedStandardStreams();
  return trainer::Main(argc, argv);
}
