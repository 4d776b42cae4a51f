#include "data/status_macros.h"
#include "launcher/control.h"
#include "launcher/stop_signals.h"
#include "trainer/commands.h"
#include "trainer/config/config.h"
#include "trainer/engine/train_loop.h"
#include "trainer/telemetry/log.h"

namespace trainer {
namespace {

absl::StatusOr<config::Config> LoadRunConfig(const TrainArguments& arguments) {
  ASSIGN_OR_RETURN(const auto file, config::FindConfigFile(arguments.config, config::ExecutablePath()));
  ASSIGN_OR_RETURN(auto config, config::LoadConfig(file, arguments.overrides));
  RETURN_IF_ERROR(config::CheckDataPath(config, file));
  return config;
}

}  // namespace

absl::Status Train(const TrainArguments& arguments, const launcher::World& world, int* exit_code) {
  const launcher::StopSignals stop;
  telemetry::StartLog({world.rank, world.host, arguments.verbosity});
  const auto config = LoadRunConfig(arguments);
  RETURN_IF_ERROR(launcher::AgreeOn(world, config.status()));
  if (world.rank == 0) {
    for (const auto& warning : config::Warnings(*config)) telemetry::Warn(warning);
  }
  engine::TrainLoop loop(*config, world, stop);
  const auto end = loop.Run();
  RETURN_IF_ERROR(end.status());
  *exit_code = *end == engine::RunEnd::kStopped ? kExitStopped : kExitDone;
  return absl::OkStatus();
}

}  // namespace trainer
