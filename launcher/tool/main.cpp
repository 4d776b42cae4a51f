// launcher -np N [options] [mpirun's options] trainer --config FILE [key=value ...]: a training run under
// mpirun, started again where it fails.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <memory>
#include <optional>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "launcher/stop_signal.h"
#include "launcher/tool/child_process.h"
#include "launcher/tool/command_line.h"
#include "launcher/tool/restart_policy.h"
#include "launcher/tool/settings.h"
#include "launcher/tool/supervisor.h"
#include "trainer/version.h"

namespace launcher::tool {
namespace {

namespace fs = std::filesystem;

bool IsProgram(const fs::path& path) {
  std::error_code error;
  return fs::is_regular_file(path, error) && access(path.c_str(), X_OK) == 0;
}

// Where a program lies: as a path in `folder`, in PATH, or beside the launcher.
std::optional<std::string> FindProgram(const std::string& name, const fs::path& folder) {
  if (name.find('/') != std::string::npos) {
    return IsProgram(folder / name) ? std::optional(name) : std::nullopt;
  }
  const char* path = std::getenv("PATH");
  for (const absl::string_view piece : absl::StrSplit(path == nullptr ? "" : path, ':', absl::SkipEmpty())) {
    const fs::path place = fs::path(std::string(piece)) / name;
    if (IsProgram(place)) return place.string();
  }
  std::error_code error;
  const fs::path beside = fs::read_symlink("/proc/self/exe", error).parent_path() / name;
  if (!error && IsProgram(beside)) return beside.string();
  return std::nullopt;
}

class Help : public CLI::Formatter {
 public:
  std::string make_usage(const CLI::App*, std::string) const override {
    return "Usage: launcher -np N [OPTIONS] [OPTIONS OF MPIRUN] [--] trainer --config FILE [key=value "
           "...]\n\n";
  }
};

int Refuse(const std::string& why) {
  std::fprintf(stderr, "launcher: %s\n", why.c_str());
  return kExitBadInput;
}

int Main(int argc, char** argv) {
  CommandLine line = SplitCommandLine({argv + 1, argv + argc});
  Settings settings;
  CLI::App app("Runs a training under mpirun, and starts it again from its last checkpoint where it fails.",
               "launcher");
  app.formatter(std::make_shared<Help>());
  app.add_option("--np,-n", settings.ranks, "ranks to start (as for mpirun: -np N)")
      ->required()
      ->check(CLI::Range(1, 1 << 20));
  app.add_option("--hostfile", settings.hostfile, "hosts to start them on, as for mpirun")
      ->check(CLI::ExistingFile);
  app.add_option("--max-restarts", settings.max_restarts, "restarts in all before it gives up")
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str();
  app.add_option(
         "--min-np", settings.least_ranks,
         "go on with fewer ranks, down to so many, where hosts are lost or slots are missing; without it, "
         "always with all")
      ->check(CLI::Range(1, 1 << 20));
  app.add_option("--backoff", settings.backoff_seconds,
                 "seconds before the first restart; twice as many before each further one, up to 300")
      ->check(CLI::Range(0.0, kLongestBackoffSeconds))
      ->capture_default_str();
  app.add_flag_callback(
      "--version",
      [] {
        std::puts(std::string(trainer::kVersionLine).c_str());
        throw CLI::Success();
      },
      "print the version");
  app.footer(
      "Other options before the program are mpirun's. Exit codes 0, 2 and 75 of the run are passed on; "
      "docs/launcher.md says more.");
  try {
    app.parse(std::vector<std::string>(line.own.rbegin(), line.own.rend()));
  } catch (const CLI::Success& success) {
    return app.exit(success);
  } catch (const CLI::ParseError& error) {
    return Refuse(absl::StrCat(error.what(), "; see launcher --help"));
  }
  if (settings.least_ranks > settings.ranks) {
    return Refuse(absl::StrCat("--min-np ", settings.least_ranks, " is more than -np ", settings.ranks,
                               "; see launcher --help"));
  }
  if (line.program.empty()) {
    return Refuse("no program to start: launcher -np N trainer --config FILE; see launcher --help");
  }
  settings.mpirun_words = std::move(line.mpirun);
  settings.program = std::move(line.program);
  settings.folder = ValueOf(settings.mpirun_words, {"wdir", "wd"});
  const auto program = FindProgram(settings.program[0], settings.folder);
  if (!program) {
    return Refuse(absl::StrCat("program '", settings.program[0],
                               "' not found (or not executable): give its path; if the word is a value of "
                               "an option of mpirun, write -- before the program"));
  }
  settings.program[0] = *program;
  const auto mpirun = FindProgram("mpirun", "");
  if (!mpirun)
    return Refuse("mpirun not found: install Open MPI (Debian: openmpi-bin) or add its folder to PATH");
  settings.mpirun = *mpirun;
  if (ChosenStopSignal() == 0) return Refuse(std::string(StopSignalRefused().message()));
  Processes processes;
  return Supervise(settings, processes);
}

}  // namespace
}  // namespace launcher::tool

int main(int argc, char** argv) {
  try {
    return launcher::tool::Main(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "launcher: %s\n", error.what());
    return launcher::tool::kExitFailure;
  }
}
