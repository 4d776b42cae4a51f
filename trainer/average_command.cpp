// trainer average: one checkpoint out of several.
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "data/status_macros.h"
#include "launcher/control.h"
#include "trainer/checkpoint/checkpoint_store.h"
#include "trainer/commands.h"
#include "trainer/engine/average.h"
#include "trainer/option_checks.h"
#include "trainer/output.h"

namespace trainer {
namespace {

namespace fs = std::filesystem;

struct AverageArguments {
  std::vector<std::string> checkpoints;
  std::string out;
};

// Links such as `best` lead to folders that may be named as well: each counts once.
std::vector<std::string> Distinct(const std::vector<std::string>& folders) {
  std::vector<std::string> distinct;
  std::map<fs::path, std::string> seen;
  for (const auto& folder : folders) {
    std::error_code ignored;
    const auto [first, is_new] = seen.emplace(fs::weakly_canonical(folder, ignored), folder);
    if (is_new) {
      distinct.push_back(folder);
    } else {
      std::fprintf(stderr, "trainer: %s is the same checkpoint as %s and counts once\n", folder.c_str(),
                   first->second.c_str());
    }
  }
  return distinct;
}

absl::Status Average(const AverageArguments& arguments) {
  std::error_code error;
  auto out = fs::absolute(arguments.out, error).lexically_normal();
  if (!out.has_filename()) out = out.parent_path();  // "average/"
  RETURN_IF_ERROR(MakeOutputFolder(out.parent_path().string(), "--out"));
  const auto folders = Distinct(arguments.checkpoints);
  ASSIGN_OR_RETURN(auto snapshot, engine::AverageCheckpoints(folders));
  const auto step = snapshot.state.value("step", int64_t{0});
  snapshot.state.erase("step");
  RETURN_IF_ERROR(checkpoint::CheckpointStore::SaveAlone(arguments.out, step, snapshot));
  PrintJsonLine({{"checkpoint", arguments.out}, {"averaged", folders.size()}, {"step", step}});
  return absl::OkStatus();
}

}  // namespace

Command AddAverage(CLI::App& app) {
  const auto arguments = std::make_shared<AverageArguments>();
  auto* options = app.add_subcommand("average", "a checkpoint whose weights are the mean of several ones'");
  options->add_option("checkpoints", arguments->checkpoints, "checkpoint folders of one run")->required();
  options->add_option("--out", arguments->out, "the checkpoint folder to make")
      ->required()
      ->check(NotEmpty());
  return {options, [arguments](const launcher::World& world, int* exit_code) {
            // Rank 0 alone has something to do.
            const auto status =
                launcher::AgreeOn(world, world.rank == 0 ? Average(*arguments) : absl::OkStatus());
            if (status.ok()) *exit_code = kExitDone;
            return status;
          }};
}

}  // namespace trainer
