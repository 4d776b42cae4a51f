// trainer verify: how well embeddings tell whether two utterances are of one speaker, also of speakers whom
// the model never heard.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "data/csv.h"
#include "data/files.h"
#include "data/speed_copies.h"
#include "data/status_macros.h"
#include "launcher/control.h"
#include "trainer/commands.h"
#include "trainer/engine/embedding_pass.h"
#include "trainer/option_checks.h"
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
  SplitJob job;                        // its utterances: those that trials are made of
  std::vector<std::string> ids;        // of them
  std::vector<scoring::Trial> trials;  // numbers into ids
  size_t speakers = 0;                 // of the utterances, where all have one
  size_t known_speakers = 0;           // of them: those that the model was trained on
};

void CountSpeakers(PreparedTrials* prepared) {
  const auto& job = prepared->job;
  const auto& manifest = job.dataset->manifest();
  const auto originals = data::OriginalNumbers(manifest.speakers, manifest.speeds);
  std::set<int32_t> persons;
  for (const int64_t utterance : job.utterances) {
    const int32_t speaker = job.dataset->speaker(utterance);
    if (speaker < 0) return;
    persons.insert(originals[static_cast<size_t>(speaker)]);
  }
  prepared->speakers = persons.size();
  prepared->known_speakers = static_cast<size_t>(
      std::count_if(persons.begin(), persons.end(), [&](int32_t person) { return job.Knows(person); }));
}

// A list's utterances may lie in any splits of the data set. No others are embedded.
absl::StatusOr<PreparedTrials> ReadTrials(const VerifyArguments& arguments) {
  auto text = data::ReadFile(arguments.trials);
  if (!text.ok())
    return absl::Status(text.status().code(), absl::StrCat("--trials: ", text.status().message()));
  PreparedTrials prepared;
  ASSIGN_OR_RETURN(prepared.job, OpenWithoutSplit(arguments.split));
  prepared.job.utterances.resize(static_cast<size_t>(prepared.job.dataset->size()));
  std::iota(prepared.job.utterances.begin(), prepared.job.utterances.end(), 0);
  ASSIGN_OR_RETURN(const auto ids, prepared.job.Ids());
  auto trials = scoring::ParseTrials(*text, ids, arguments.split.data);
  if (!trials.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--trials ", arguments.trials, ": ", trials.status().message()));
  }
  std::set<int64_t> named;
  for (const auto& trial : *trials) named.insert({trial.enrol, trial.test});
  std::vector<int64_t> place(ids.size());
  for (const int64_t utterance : named) {
    place[static_cast<size_t>(utterance)] = static_cast<int64_t>(prepared.ids.size());
    prepared.ids.push_back(ids[static_cast<size_t>(utterance)]);
  }
  prepared.job.utterances.assign(named.begin(), named.end());
  prepared.trials = *std::move(trials);
  for (auto& trial : prepared.trials) {
    trial.enrol = place[static_cast<size_t>(trial.enrol)];
    trial.test = place[static_cast<size_t>(trial.test)];
  }
  return prepared;
}

absl::StatusOr<std::vector<scoring::Trial>> TrialsOf(const SplitJob& job,
                                                     const std::vector<int64_t>& utterances, uint64_t seed) {
  std::vector<int32_t> speakers;
  for (const int64_t utterance : utterances) speakers.push_back(job.dataset->speaker(utterance));
  return scoring::MakeTrials(speakers, kMostMadeTrials, seed);
}

// Trials of the split's speakers whom the model does not know, where these give trials of both kinds;
// otherwise of all. Copies at other speeds take no part.
absl::StatusOr<PreparedTrials> MakeTrials(const VerifyArguments& arguments) {
  PreparedTrials prepared;
  ASSIGN_OR_RETURN(prepared.job, OpenSplitJob(arguments.split));
  auto& job = prepared.job;
  const auto where = absl::StrCat(arguments.split.data, ": split '", arguments.split.split, "': ");
  std::vector<int64_t> originals, strangers;
  for (const int64_t utterance : job.utterances) {
    const int32_t speaker = job.dataset->speaker(utterance);
    if (speaker < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat(where,
                       "has utterances without a speaker, of which no trials can be made; give a list "
                       "with --trials, or choose another --split"));
    }
    if (data::IsSpeedCopy(job.SpeakerName(utterance), job.dataset->manifest().speeds)) continue;
    originals.push_back(utterance);
    if (!job.Knows(speaker)) strangers.push_back(utterance);
  }
  job.utterances = std::move(strangers);
  auto trials = TrialsOf(job, job.utterances, arguments.seed);
  if (!trials.ok()) {
    job.utterances = std::move(originals);
    trials = TrialsOf(job, job.utterances, arguments.seed);
  }
  if (!trials.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, trials.status().message(), "; choose another --split"));
  }
  prepared.trials = *std::move(trials);
  ASSIGN_OR_RETURN(prepared.ids, job.Ids());
  return prepared;
}

// The same on all ranks.
absl::StatusOr<PreparedTrials> PrepareTrials(const VerifyArguments& arguments, const launcher::World& world) {
  ASSIGN_OR_RETURN(PreparedTrials prepared,
                   arguments.trials.empty() ? MakeTrials(arguments) : ReadTrials(arguments));
  CountSpeakers(&prepared);
  if (world.rank == 0 && !arguments.out.empty()) {
    RETURN_IF_ERROR(MakeOutputFolder(arguments.out, "--out"));
    if (arguments.trials.empty()) {
      ASSIGN_OR_RETURN(const auto list, scoring::FormatTrials(prepared.trials, prepared.ids));
      RETURN_IF_ERROR(data::WriteFileAtomically(arguments.out + "/trials.txt", list));
    }
  }
  return prepared;
}

// What the trials are of: "split test", or the list's name.
std::string Source(const VerifyArguments& arguments) {
  if (arguments.trials.empty()) return absl::StrCat("split ", arguments.split.split);
  return std::filesystem::path(arguments.trials).filename().string();
}

void WarnOfKnownSpeakers(const PreparedTrials& prepared, const VerifyArguments& arguments) {
  if (prepared.known_speakers == 0) return;
  std::fprintf(
      stderr,
      "trainer: warning: the model was trained on %zu of the %zu speakers in these trials (%s of %s); "
      "of strangers it knows less, so try it on speakers held out of training\n",
      prepared.known_speakers, prepared.speakers, Source(arguments).c_str(), arguments.split.data.c_str());
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
    const auto title = PlotTitle(absl::StrCat(scores.size(), " trials"), Source(arguments),
                                 arguments.split.model.checkpoint);
    RETURN_IF_ERROR(data::WriteFileAtomically(arguments.out + "/det.svg", scoring::DetSvg(points, title)));
  }
  const auto targets =
      std::count_if(scores.begin(), scores.end(), [](const auto& score) { return score.target; });
  nlohmann::ordered_json line = {{"eer", equal.rate},
                                 {"min_dcf_0.01", scoring::MinDetectionCost(points, 0.01)},
                                 {"min_dcf_0.05", scoring::MinDetectionCost(points, 0.05)},
                                 {"threshold", equal.threshold},
                                 {"trials", scores.size()},
                                 {"targets", targets}};
  if (prepared.speakers > 0) {
    line["speakers"] = prepared.speakers;
    line["known_speakers"] = prepared.known_speakers;
  }
  if (arguments.trials.empty()) line["split"] = arguments.split.split;
  line["frames"] = arguments.split.frames;
  line["data"] = arguments.split.data;
  line["checkpoint"] = arguments.split.model.checkpoint;
  line["step"] = prepared.job.trained.step;
  PrintJsonLine(line);
  return absl::OkStatus();
}

absl::Status RunVerify(const VerifyArguments& arguments, const launcher::World& world, int* exit_code) {
  const auto& options = arguments.split;
  ASSIGN_OR_RETURN(const auto device, options.model.Bind(world));
  const auto prepared = PrepareTrials(arguments, world);
  RETURN_IF_ERROR(launcher::AgreeOn(world, prepared.status()));
  const auto& job = prepared->job;
  if (world.rank == 0) {
    WarnOfFrontEnd(job, options);
    WarnOfKnownSpeakers(*prepared, arguments);
  }
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
  command
      ->add_option("--trials", arguments->trials,
                   "list of trials, a line each: label (1, 0, target, nontarget), enrol, test (utterance "
                   "ids, of any splits); default: made of all pairs of the split's utterances, or 200000 "
                   "of them; only of speakers whom the model does not know, if that can be")
      ->check(NotEmpty())
      ->excludes(command->get_option("--split"));
  command->add_option("--seed", arguments->seed, "of the choice among more pairs than that")
      ->check(WholeNumber(0, std::numeric_limits<int64_t>::max()))
      ->capture_default_str();
  command
      ->add_option("--out", arguments->out,
                   "folder for scores.csv, det.svg and, where trials are made, trials.txt")
      ->check(NotEmpty());
  return {command, [arguments](const launcher::World& world, int* code) {
            return RunVerify(*arguments, world, code);
          }};
}

}  // namespace trainer
