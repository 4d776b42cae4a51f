// mels: makes, shows and checks data sets of log-mel features.
#include <csignal>
#include <cstdio>
#include <exception>

#include "data/commands.h"
#include "data/interrupt.h"
#include "data/standard_streams.h"

namespace {

int ExitCode(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return 0;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kDataLoss:
      return 2;
    case absl::StatusCode::kCancelled:
      return 128 + data::InterruptSignal();
    default:
      return 1;
  }
}

int Run(int argc, char** argv) {
  CLI::App app("Makes, shows and checks data sets of log-mel features", "mels");
  app.require_subcommand(1);
  absl::Status result;
  data::AddExtractCommand(app, &result);
  data::AddImportHw4Command(app, &result);
  data::AddSynthCommand(app, &result);
  data::AddSplitCommand(app, &result);
  data::AddInfoCommand(app, &result);
  data::AddCheckCommand(app, &result);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {
    app.exit(success);  // --help
  } catch (const CLI::ParseError& error) {
    const std::vector<std::string> unknown = app.remaining();
    const std::string message = app.get_subcommands().empty() && !unknown.empty()
                                    ? "'" + unknown.front() + "' is no command of mels"
                                    : std::string(error.what());
    std::fprintf(stderr, "mels: %s (see `mels --help`)\n", message.c_str());
    return 2;
  }
  if (result.ok()) result = data::FlushStandardOutput();
  if (!result.ok()) std::fprintf(stderr, "mels: %s\n", std::string(result.message()).c_str());
  return ExitCode(result);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    data::FillClosedStandardStreams();
    data::CatchInterrupts();
    return Run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "mels: %s\n", error.what());
    return 1;
  }
}
