// trainer average: one checkpoint out of several.
#include <memory>
#include <nlohmann/json.hpp>

#include "data/status_macros.h"
#include "launcher/control.h"
#include "trainer/checkpoint/checkpoint_store.h"
#include "trainer/commands.h"
#include "trainer/engine/average.h"
#include "trainer/output.h"

namespace trainer {
namespace {

struct AverageArguments {
  std::vector<std::string> checkpoints;
  std::string out;
};

absl::Status Average(const AverageArguments& arguments) {
  ASSIGN_OR_RETURN(auto snapshot, engine::AverageCheckpoints(arguments.checkpoints));
  const auto step = snapshot.state.value("step", int64_t{0});
  snapshot.state.erase("step");
  RETURN_IF_ERROR(checkpoint::CheckpointStore::SaveAlone(arguments.out, step, snapshot));
  PrintJsonLine({{"checkpoint", arguments.out}, {"averaged", arguments.checkpoints.size()}, {"step", step}});
  return absl::OkStatus();
}

}  // namespace

Command AddAverage(CLI::App& app) {
  const auto arguments = std::make_shared<AverageArguments>();
  auto* options = app.add_subcommand("average", "a checkpoint whose weights are the mean of several ones'");
  options->add_option("checkpoints", arguments->checkpoints, "checkpoint folders of one run")->required();
  options->add_option("--out", arguments->out, "the checkpoint folder to make")->required();
  return {options, [arguments](const launcher::World& world, int* exit_code) {
            // Rank 0 alone has something to do.
            const auto status =
                launcher::AgreeOn(world, world.rank == 0 ? Average(*arguments) : absl::OkStatus());
            if (status.ok()) *exit_code = kExitDone;
            return status;
          }};
}

}  // namespace trainer
