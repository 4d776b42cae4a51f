#include "trainer/evaluation_job.h"

#include "absl/strings/str_cat.h"
#include "data/files.h"
#include "data/status_macros.h"
#include "launcher/control.h"
#include "trainer/engine/evaluation.h"
#include "trainer/output.h"
#include "trainer/scoring/confusion.h"
#include "trainer/scoring/confusion_plot.h"
#include "trainer/scoring/interval.h"

namespace trainer {
namespace {

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

absl::StatusOr<SplitJob> Prepare(const EvaluationOptions& options, const launcher::World& world) {
  ASSIGN_OR_RETURN(auto job, OpenSplitJob(options.split));
  RETURN_IF_ERROR(CheckSpeakersKnown(job, options.split));
  if (world.rank == 0 && !options.out.empty()) RETURN_IF_ERROR(MakeOutputFolder(options.out, "--out"));
  return job;
}

// Null where the state has none. Loading the checkpoint has shown that the file is whole.
absl::StatusOr<nlohmann::json> ModelChecksum(const std::string& checkpoint) {
  ASSIGN_OR_RETURN(const auto text, data::ReadFile(checkpoint + "/state.json"));
  const auto state = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  return state.value("/checksums/model.safetensors"_json_pointer, nlohmann::json());
}

absl::Status WriteTables(const std::vector<engine::UtteranceScore>& scores, const SplitJob& job,
                         const EvaluationOptions& options, nlohmann::ordered_json figures) {
  scoring::ConfusionMatrix matrix(job.trained.speakers);
  for (const auto& score : scores) matrix.Add(score.speaker, score.predicted);
  const auto title = PlotTitle(absl::StrCat(scores.size(), " utterances"),
                               absl::StrCat("split ", options.split.split), options.split.model.checkpoint);
  RETURN_IF_ERROR(data::WriteFileAtomically(options.out + "/speakers.csv", matrix.SpeakersCsv()));
  RETURN_IF_ERROR(data::WriteFileAtomically(options.out + "/confusion.csv", matrix.Csv()));
  RETURN_IF_ERROR(
      data::WriteFileAtomically(options.out + "/confusion.svg", scoring::ConfusionSvg(matrix, title)));
  ASSIGN_OR_RETURN(figures["model_checksum"], ModelChecksum(options.split.model.checkpoint));
  return data::WriteFileAtomically(options.out + "/evaluation.json", JsonLine(figures) + "\n");
}

nlohmann::ordered_json Figures(const std::vector<engine::UtteranceScore>& scores, const SplitJob& job,
                               const SplitOptions& options) {
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
  return {{"accuracy", share(correct)},
          {"loss", loss / static_cast<double>(count)},
          {"utterances", count},
          {"top5_accuracy", share(in_top5)},
          {"accuracy_interval", {interval.low, interval.high}},
          {"split", options.split},
          {"frames", options.frames},
          {"data", options.data},
          {"checkpoint", options.model.checkpoint},
          {"step", job.trained.step}};
}

}  // namespace

absl::StatusOr<nlohmann::ordered_json> EvaluateSplit(const EvaluationOptions& options,
                                                     const launcher::World& world) {
  const auto& split = options.split;
  ASSIGN_OR_RETURN(const auto device, split.model.Bind(world));
  auto job = Prepare(options, world);
  RETURN_IF_ERROR(launcher::AgreeOn(world, job.status()));
  if (world.rank == 0) WarnOfFrontEnd(*job, split);
  const auto loader = job->Start(split, world, device);
  ASSIGN_OR_RETURN(const auto scores, engine::ScoreUtterances(world, *job->trained.model, device, *loader,
                                                              split.model.max_frames));
  auto figures = nlohmann::ordered_json::object();
  absl::Status written;
  if (world.rank == 0) {
    figures = Figures(scores, *job, split);
    if (!options.out.empty()) written = WriteTables(scores, *job, options, figures);
  }
  RETURN_IF_ERROR(launcher::AgreeOn(world, written));
  return figures;
}

}  // namespace trainer
