#include <optional>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "data/status_macros.h"
#include "launcher/control.h"
#include "launcher/deadline.h"
#include "launcher/stalled.h"
#include "launcher/stop_signals.h"
#include "launcher/watchdog.h"
#include "trainer/commands.h"
#include "trainer/config/config.h"
#include "trainer/engine/train_loop.h"
#include "trainer/output.h"
#include "trainer/telemetry/log.h"

namespace trainer {
namespace {

absl::StatusOr<engine::TraceOptions> TraceOptionsOf(const TrainArguments& arguments) {
  engine::TraceOptions options;
  options.file = arguments.trace;
  const std::pair<std::string, std::string> steps =
      absl::StrSplit(arguments.trace_steps, absl::MaxSplits(':', 1));
  if (!absl::SimpleAtoi(steps.first, &options.first) || !absl::SimpleAtoi(steps.second, &options.count) ||
      options.first < 1 || options.count < 1) {
    return absl::InvalidArgumentError(absl::StrCat("--trace-steps ", arguments.trace_steps,
                                                   ": write FIRST:COUNT, both at least 1, such as 10:10"));
  }
  return options;
}

}  // namespace

absl::Status Train(const TrainArguments& arguments, const launcher::World& world,
                   const launcher::StopSignals& stop, int* exit_code) {
  telemetry::StartLog({world.rank, world.host, arguments.verbosity});
  // Until the configuration is there, which has limits of its own.
  std::optional<launcher::Watchdog> watchdog;
  if (const double seconds = launcher::StartSeconds(); seconds > 0) {
    launcher::WatchdogOptions watching;
    watching.phases = {{"reading the configuration", seconds}};
    watching.exit_code = launcher::kExitStalled;
    watching.advice = "start the run again";
    watchdog.emplace(world, std::move(watching));
  }
  const auto config = config::LoadRunConfig(arguments.config, arguments.overrides);
  RETURN_IF_ERROR(launcher::AgreeOn(world, config.status()));
  if (world.rank == 0) {
    for (const auto& warning : config::Warnings(*config)) telemetry::Warn(warning);
  }
  const auto trace = TraceOptionsOf(arguments);
  RETURN_IF_ERROR(trace.status());  // alike on all ranks
  if (!trace->file.empty()) {
    RETURN_IF_ERROR(launcher::AgreeOn(
        world, world.rank == 0 ? CheckOutputFile(trace->file, "--trace") : absl::OkStatus()));
  }
  watchdog.reset();
  engine::TrainLoop loop(*config, world, stop, *trace);
  const auto end = loop.Run();
  RETURN_IF_ERROR(end.status());
  *exit_code = *end == engine::RunEnd::kStopped ? kExitStopped : kExitDone;
  return absl::OkStatus();
}

}  // namespace trainer
