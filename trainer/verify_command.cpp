// trainer verify: how well embeddings tell whether two utterances are of one speaker, also of speakers whom
// the model never heard.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "data/csv.h"
#include "data/files.h"
#include "data/status_macros.h"
#include "launcher/control.h"
#include "trainer/commands.h"
#include "trainer/engine/embedding_pass.h"
#include "trainer/output.h"
#include "trainer/scoring/det_plot.h"
#include "trainer/scoring/trials.h"
#include "trainer/scoring/verification.h"
#include "trainer/split_job.h"

namespace trainer {
namespace {

constexpr int64_t kMostMadeTrials = 200'000;

struct VerifyArguments {
  SplitOptions split;
  std::string trials;  // a list; empty: made
  std::string out;     // empty: no files
  uint64_t seed = 1;   // of made trials
};

struct PreparedTrials {
  SplitJob job;
  std::vector<std::string> ids;        // of the split
  std::vector<scoring::Trial> trials;  // numbers into ids
};

absl::StatusOr<std::vector<scoring::Trial>> ReadTrials(const VerifyArguments& arguments,
                                                       const std::vector<std::string>& ids) {
  ASSIGN_OR_RETURN(const auto text, data::ReadFile(arguments.trials));
  auto trials = scoring::ParseTrials(
      text, ids, absl::StrCat("split '", arguments.split.split, "' of ", arguments.split.data));
  if (trials.ok()) return trials;
  return absl::InvalidArgumentError(absl::StrCat(arguments.trials, ": ", trials.status().message()));
}

absl::StatusOr<std::vector<scoring::Trial>> MakeTrials(const VerifyArguments& arguments,
                                                       const SplitJob& job) {
  const auto where = absl::StrCat(arguments.split.data, ": split '", arguments.split.split, "': ");
  std::vector<int32_t> speakers;
  for (const int64_t utterance : job.utterances) {
    speakers.push_back(job.dataset->speaker(utterance));
    if (speakers.back() < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat(where,
                       "has utterances without a speaker, of which no trials can be made; give a list "
                       "with --trials, or choose another --split"));
    }
  }
  auto trials = scoring::MakeTrials(speakers, kMostMadeTrials, arguments.seed);
  if (trials.ok()) return trials;
  return absl::InvalidArgumentError(
      absl::StrCat(where, trials.status().message(), "; choose another --split"));
}

// The same on all ranks.
absl::StatusOr<PreparedTrials> PrepareTrials(const VerifyArguments& arguments, const launcher::World& world) {
  PreparedTrials prepared;
  ASSIGN_OR_RETURN(prepared.job, OpenSplitJob(arguments.split));
  ASSIGN_OR_RETURN(prepared.ids, prepared.job.Ids());
  if (arguments.trials.empty()) {
    ASSIGN_OR_RETURN(prepared.trials, MakeTrials(arguments, prepared.job));
  } else {
    ASSIGN_OR_RETURN(prepared.trials, ReadTrials(arguments, prepared.ids));
  }
  if (world.rank == 0 && !arguments.out.empty()) {
    RETURN_IF_ERROR(MakeOutputFolder(arguments.out, "--out"));
    if (arguments.trials.empty()) {
      ASSIGN_OR_RETURN(const auto list, scoring::FormatTrials(prepared.trials, prepared.ids));
      RETURN_IF_ERROR(data::WriteFileAtomically(arguments.out + "/trials.txt", list));
    }
  }
  return prepared;
}

std::vector<scoring::TrialScore> ScoreTrials(const std::vector<scoring::Trial>& trials,
                                             const engine::Embeddings& embeddings) {
  const auto width = static_cast<size_t>(embeddings.width);
  const auto row = [&](int64_t i) {
    return std::span(embeddings.values).subspan(static_cast<size_t>(i) * width, width);
  };
  std::vector<scoring::TrialScore> scores;
  scores.reserve(trials.size());
  for (const auto& trial : trials) {
    scores.push_back({scoring::Cosine(row(trial.enrol), row(trial.test)), trial.target});
  }
  return scores;
}

// On rank 0.
absl::Status ReportTrials(const PreparedTrials& prepared, const engine::Embeddings& embeddings,
                          const VerifyArguments& arguments) {
  const auto scores = ScoreTrials(prepared.trials, embeddings);
  const auto points = scoring::OperatingPoints(scores);
  const auto equal = scoring::EqualErrorRate(points);
  if (!arguments.out.empty()) {
    std::string csv = "label,enrol,test,score\n";
    for (size_t i = 0; i < scores.size(); ++i) {
      const auto& trial = prepared.trials[i];
      absl::StrAppendFormat(&csv, "%d,%s,%s,%.17g\n", trial.target ? 1 : 0,
                            data::QuoteCsv(prepared.ids[static_cast<size_t>(trial.enrol)]),
                            data::QuoteCsv(prepared.ids[static_cast<size_t>(trial.test)]), scores[i].score);
    }
    RETURN_IF_ERROR(data::WriteFileAtomically(arguments.out + "/scores.csv", csv));
    const auto title = PlotTitle(absl::StrCat(scores.size(), " trials"), arguments.split.split,
                                 arguments.split.model.checkpoint);
    RETURN_IF_ERROR(data::WriteFileAtomically(arguments.out + "/det.svg", scoring::DetSvg(points, title)));
  }
  const auto targets =
      std::count_if(scores.begin(), scores.end(), [](const auto& score) { return score.target; });
  PrintJsonLine({{"eer", equal.rate},
                 {"min_dcf_0.01", scoring::MinDetectionCost(points, 0.01)},
                 {"min_dcf_0.05", scoring::MinDetectionCost(points, 0.05)},
                 {"threshold", equal.threshold},
                 {"trials", scores.size()},
                 {"targets", targets},
                 {"split", arguments.split.split},
                 {"frames", arguments.split.frames},
                 {"data", arguments.split.data},
                 {"checkpoint", arguments.split.model.checkpoint},
                 {"step", prepared.job.trained.step}});
  return absl::OkStatus();
}

absl::Status RunVerify(const VerifyArguments& arguments, const launcher::World& world, int* exit_code) {
  const auto& options = arguments.split;
  ASSIGN_OR_RETURN(const auto device, options.model.Bind(world));
  const auto prepared = PrepareTrials(arguments, world);
  RETURN_IF_ERROR(launcher::AgreeOn(world, prepared.status()));
  const auto& job = prepared->job;
  if (world.rank == 0) WarnOfFrontEnd(job, options);
  ASSIGN_OR_RETURN(const auto embeddings, job.Embed(options, world, device));
  RETURN_IF_ERROR(launcher::AgreeOn(
      world, world.rank == 0 ? ReportTrials(*prepared, embeddings, arguments) : absl::OkStatus()));
  *exit_code = kExitDone;
  return absl::OkStatus();
}

}  // namespace

Command AddVerify(CLI::App& app) {
  const auto arguments = std::make_shared<VerifyArguments>();
  auto* command = app.add_subcommand(
      "verify",
      "same speaker or not, by cosine of embeddings: equal error rate and minimal detection costs, as "
      "one JSON line");
  arguments->split.AddTo(command);
  command->add_option("--trials", arguments->trials,
                      "list of trials, a line each: label (1, 0, target, nontarget), enrol, test (utterance "
                      "ids); default: made of all pairs of the split's utterances, or 200000 of them");
  command->add_option("--seed", arguments->seed, "of the choice among more pairs than that")
      ->capture_default_str();
  command->add_option("--out", arguments->out,
                      "folder for scores.csv, det.svg and, where trials are made, trials.txt");
  return {command, [arguments](const launcher::World& world, int* code) {
            return RunVerify(*arguments, world, code);
          }};
}

}  // namespace trainer
