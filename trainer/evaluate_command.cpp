// trainer evaluate: how well a model tells the speakers of a split apart.
#include <memory>

#include "data/status_macros.h"
#include "trainer/commands.h"
#include "trainer/evaluation_job.h"
#include "trainer/option_checks.h"
#include "trainer/output.h"

namespace trainer {
namespace {

absl::Status RunEvaluate(const EvaluationOptions& options, const launcher::World& world, int* exit_code) {
  ASSIGN_OR_RETURN(const auto figures, EvaluateSplit(options, world));
  if (world.rank == 0) PrintJsonLine(figures);
  *exit_code = kExitDone;
  return absl::OkStatus();
}

}  // namespace

Command AddEvaluate(CLI::App& app) {
  const auto options = std::make_shared<EvaluationOptions>();
  auto* command =
      app.add_subcommand("evaluate", "loss and accuracy of a checkpoint on a split, as one JSON line");
  options->split.AddTo(command);
  command
      ->add_option(
          "--out", options->out,
          "folder for speakers.csv, confusion.csv, confusion.svg and evaluation.json; made if need be")
      ->check(NotEmpty());
  return {command,
          [options](const launcher::World& world, int* code) { return RunEvaluate(*options, world, code); }};
}

}  // namespace trainer
