// trainer evaluate: how well a model tells the speakers of a split apart.
#include <memory>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "data/files.h"
#include "data/status_macros.h"
#include "launcher/control.h"
#include "trainer/commands.h"
#include "trainer/engine/evaluation.h"
#include "trainer/output.h"
#include "trainer/scoring/confusion.h"
#include "trainer/scoring/confusion_plot.h"
#include "trainer/scoring/interval.h"
#include "trainer/split_job.h"

namespace trainer {
namespace {

struct Arguments {
  SplitOptions split;
  std::string out;  // folder for the tables; empty: none
};

// Every utterance must have a speaker, and the model must know it by name.
absl::Status CheckSpeakersKnown(const SplitJob& job, const SplitOptions& options) {
  for (const int64_t utterance : job.utterances) {
    const int32_t speaker = job.dataset->speaker(utterance);
    if (speaker < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat(options.data, ": split '", options.split,
                       "' has utterances without a speaker, so there is nothing to "
                       "compare with; choose a labelled split with --split"));
    }
    if (job.class_of_speaker[static_cast<size_t>(speaker)] < 0) {
      return absl::InvalidArgumentError(absl::StrCat(
          options.data, ": split '", options.split, "' has speaker '", job.SpeakerName(utterance), "', whom ",
          options.model.checkpoint, " was not trained on; evaluate on a split of its own speakers"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<SplitJob> Prepare(const Arguments& arguments, const launcher::World& world) {
  ASSIGN_OR_RETURN(auto job, OpenSplitJob(arguments.split));
  RETURN_IF_ERROR(CheckSpeakersKnown(job, arguments.split));
  if (world.rank == 0 && !arguments.out.empty()) RETURN_IF_ERROR(MakeOutputFolder(arguments.out, "--out"));
  return job;
}

absl::Status WriteTables(const std::vector<engine::UtteranceScore>& scores, const SplitJob& job,
                         const Arguments& arguments) {
  scoring::ConfusionMatrix matrix(job.trained.speakers);
  for (const auto& score : scores) matrix.Add(score.speaker, score.predicted);
  const auto title = PlotTitle(absl::StrCat(scores.size(), " utterances"), arguments.split.split,
                               arguments.split.model.checkpoint);
  RETURN_IF_ERROR(data::WriteFileAtomically(arguments.out + "/speakers.csv", matrix.SpeakersCsv()));
  RETURN_IF_ERROR(data::WriteFileAtomically(arguments.out + "/confusion.csv", matrix.Csv()));
  return data::WriteFileAtomically(arguments.out + "/confusion.svg", scoring::ConfusionSvg(matrix, title));
}

// On rank 0.
absl::Status Report(const std::vector<engine::UtteranceScore>& scores, const SplitJob& job,
                    const Arguments& arguments) {
  if (!arguments.out.empty()) RETURN_IF_ERROR(WriteTables(scores, job, arguments));
  const auto count = static_cast<int64_t>(scores.size());
  int64_t correct = 0, in_top5 = 0;
  double loss = 0;
  for (const auto& score : scores) {
    correct += score.predicted == score.speaker ? 1 : 0;
    in_top5 += score.larger < 5 ? 1 : 0;
    loss += score.loss;
  }
  const auto share = [&](int64_t part) { return static_cast<double>(part) / static_cast<double>(count); };
  const auto interval = scoring::WilsonInterval(correct, count);
  PrintJsonLine({{"accuracy", share(correct)},
                 {"loss", loss / static_cast<double>(count)},
                 {"utterances", count},
                 {"top5_accuracy", share(in_top5)},
                 {"accuracy_interval", {interval.low, interval.high}},
                 {"split", arguments.split.split},
                 {"frames", arguments.split.frames},
                 {"data", arguments.split.data},
                 {"checkpoint", arguments.split.model.checkpoint},
                 {"step", job.trained.step}});
  return absl::OkStatus();
}

absl::Status Run(const Arguments& arguments, const launcher::World& world, int* exit_code) {
  const auto& options = arguments.split;
  ASSIGN_OR_RETURN(const auto device, options.model.Bind(world));
  auto job = Prepare(arguments, world);
  RETURN_IF_ERROR(launcher::AgreeOn(world, job.status()));
  if (world.rank == 0) WarnOfFrontEnd(*job, options);
  const auto loader = job->Start(options, world, device);
  ASSIGN_OR_RETURN(const auto scores, engine::ScoreUtterances(world, *job->trained.model, device, *loader,
                                                              options.model.max_frames));
  RETURN_IF_ERROR(
      launcher::AgreeOn(world, world.rank == 0 ? Report(scores, *job, arguments) : absl::OkStatus()));
  *exit_code = kExitDone;
  return absl::OkStatus();
}

}  // namespace

Command AddEvaluate(CLI::App& app) {
  const auto arguments = std::make_shared<Arguments>();
  auto* command =
      app.add_subcommand("evaluate", "loss and accuracy of a checkpoint on a split, as one JSON line");
  arguments->split.AddTo(command);
  command->add_option("--out", arguments->out,
                      "folder for speakers.csv, confusion.csv and confusion.svg; made if need be");
  return {command,
          [arguments](const launcher::World& world, int* code) { return Run(*arguments, world, code); }};
}

}  // namespace trainer
