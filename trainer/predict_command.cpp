// trainer predict: who speaks in each utterance of a split, as HW4's answer file.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>

#include "absl/strings/str_cat.h"
#include "data/csv.h"
#include "data/output_file.h"
#include "data/speed_copies.h"
#include "data/status_macros.h"
#include "launcher/control.h"
#include "trainer/commands.h"
#include "trainer/engine/embedding_pass.h"
#include "trainer/engine/gather.h"
#include "trainer/engine/training_data.h"
#include "trainer/option_checks.h"
#include "trainer/output.h"
#include "trainer/split_job.h"

namespace trainer {
namespace {

struct PredictArguments {
  SplitOptions split;
  std::vector<std::string> ensemble;  // further checkpoints
  std::string csv;
};

// Whom the model can name: its speakers without copies at other speeds, which are for training alone.
std::vector<std::string> Answerable(const engine::TrainedModel& trained) {
  std::vector<std::string> speakers;
  for (const auto& speaker : trained.speakers) {
    if (!data::IsSpeedCopy(speaker, trained.speeds)) speakers.push_back(speaker);
  }
  return speakers;
}

// A speaker's probability is the mean of what the members say. The mean of probabilities rather than of their
// logarithms: one member that is sure and wrong cannot veto all others.
class Vote {
 public:
  // All members know `speakers`.
  explicit Vote(std::vector<std::string> speakers) : speakers_(std::move(speakers)) {}

  // Adds a member's answers about this rank's utterances. All members get the same loader options, hence the
  // same batches in the same order. Collective.
  absl::Status Add(const launcher::World& world, const SplitJob& job, const SplitOptions& options,
                   torch::Device device) {
    // Where each of our speakers stands among this member's classes.
    const auto places = torch::tensor(engine::MatchSpeakers(speakers_, job.trained.speakers));
    const auto loader = job.Start(options, world, device);
    size_t batch_number = 0;
    return engine::EmbedEach(world, *job.trained.model, device, *loader, options.model.max_frames,
                             [&](const data::Batch& batch, const torch::Tensor& embeddings) {
                               const auto logits =
                                   job.trained.model->Answers(embeddings).to(torch::kCPU, torch::kFloat64);
                               const auto probabilities = torch::softmax(logits, 1).index_select(1, places);
                               if (batch_number == sums_.size()) {
                                 sums_.push_back(probabilities);
                                 utterances_.push_back(batch.utterances);
                               } else {
                                 sums_[batch_number] = sums_[batch_number] + probabilities;
                               }
                               ++batch_number;
                             });
  }

  struct Answer {
    int64_t utterance = 0;
    int64_t speaker = 0;  // place in speakers()
  };

  const std::vector<std::string>& speakers() const { return speakers_; }

  // All ranks' answers on rank 0, in the order of utterances. Collective.
  std::vector<Answer> Answers(const launcher::World& world) const {
    std::vector<Answer> mine;
    for (size_t i = 0; i < sums_.size(); ++i) {
      const auto best = sums_[i].argmax(1);
      for (size_t row = 0; row < utterances_[i].size(); ++row) {
        mine.push_back({utterances_[i][row], best.const_data_ptr<int64_t>()[row]});
      }
    }
    auto all = engine::GatherRecords(world, mine);
    std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.utterance < b.utterance; });
    return all;
  }

 private:
  std::vector<std::string> speakers_;
  std::vector<torch::Tensor> sums_;  // a batch: (B, n_speakers) float64, on the CPU
  std::vector<std::vector<int64_t>> utterances_;
};

absl::Status CheckSameSpeakers(const SplitJob& first, const SplitJob& member,
                               const PredictArguments& arguments, const std::string& checkpoint) {
  const auto first_speakers = Answerable(first.trained), member_speakers = Answerable(member.trained);
  // One of `of` whom `in` lacks.
  const auto missing = [](const std::vector<std::string>& in,
                          const std::vector<std::string>& of) -> std::optional<std::string> {
    const auto matched = engine::MatchSpeakers(of, in);
    const auto found = std::find(matched.begin(), matched.end(), -1);
    if (found == matched.end()) return std::nullopt;
    return of[static_cast<size_t>(found - matched.begin())];
  };
  const auto lacking = missing(member_speakers, first_speakers);
  const auto extra = missing(first_speakers, member_speakers);
  if (!lacking && !extra) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("--ensemble ", checkpoint, lacking ? " does not know speaker '" : " knows speaker '",
                   lacking ? *lacking : *extra, "', ", arguments.split.model.checkpoint,
                   lacking ? " does" : " does not", "; all members must be trained on the same speakers"));
}

// `answers`: those of `vote`.
absl::Status WriteAnswers(const std::vector<Vote::Answer>& answers, const Vote& vote, const SplitJob& job,
                          const std::string& path) {
  std::string csv = "Id,Category\r\n";
  for (const auto& answer : answers) {
    ASSIGN_OR_RETURN(const auto id, job.dataset->utterance_id(answer.utterance));
    absl::StrAppend(&csv, data::QuoteCsv(id), ",",
                    data::QuoteCsv(vote.speakers()[static_cast<size_t>(answer.speaker)]), "\r\n");
  }
  return data::WriteOutputFile(path, csv);
}

absl::Status RunPredict(const PredictArguments& arguments, const launcher::World& world, int* exit_code) {
  const auto& options = arguments.split;
  ASSIGN_OR_RETURN(const auto device, options.model.Bind(world));
  const auto prepare = [&]() -> absl::StatusOr<SplitJob> {
    if (world.rank == 0) RETURN_IF_ERROR(CheckOutputFile(arguments.csv, "--csv"));
    return OpenSplitJob(options);
  };
  auto first = prepare();
  RETURN_IF_ERROR(launcher::AgreeOn(world, first.status()));
  if (world.rank == 0) WarnOfFrontEnd(*first, options);
  // All members are looked at before the first is run: one that does not fit should not cost the others'
  // time.
  std::vector<SplitJob> members = {*first};
  first->trained.model.reset();  // from now on the member's alone
  const auto load = [&]() -> absl::Status {
    for (const auto& checkpoint : arguments.ensemble) {
      SplitOptions member = options;
      member.model.checkpoint = checkpoint;
      ASSIGN_OR_RETURN(auto job, OpenSplitJob(member));
      RETURN_IF_ERROR(CheckSameSpeakers(*first, job, arguments, checkpoint));
      if (world.rank == 0) WarnOfFrontEnd(job, member);
      members.push_back(std::move(job));
    }
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(launcher::AgreeOn(world, load()));

  Vote vote(Answerable(first->trained));
  for (auto& member : members) {
    RETURN_IF_ERROR(vote.Add(world, member, options, device));
    member.trained.model.reset();  // a GPU need hold only one at a time
  }
  const auto answers = vote.Answers(world);
  const auto written =
      world.rank == 0 ? WriteAnswers(answers, vote, *first, arguments.csv) : absl::OkStatus();
  RETURN_IF_ERROR(launcher::AgreeOn(world, written));
  if (world.rank == 0) {
    // Not into the answers, where these go to standard output.
    std::fprintf(data::IsStandardOutput(arguments.csv) ? stderr : stdout,
                 "%s: %zu utterances of split '%s' of %s, by %zu model%s\n", arguments.csv.c_str(),
                 answers.size(), options.split.c_str(), options.data.c_str(), members.size(),
                 members.size() == 1 ? "" : "s");
  }
  *exit_code = kExitDone;
  return absl::OkStatus();
}

}  // namespace

Command AddPredict(CLI::App& app) {
  const auto arguments = std::make_shared<PredictArguments>();
  auto* command = app.add_subcommand(
      "predict",
      "who speaks in each utterance of a split, labelled or not, as HW4's answer file (Id,Category)");
  arguments->split.AddTo(command);
  command->add_option("--csv", arguments->csv, "the answer file")->required()->check(NotEmpty());
  command->add_option("--ensemble", arguments->ensemble,
                      "further checkpoints of the same speakers; the mean of all probabilities counts");
  return {command, [arguments](const launcher::World& world, int* code) {
            return RunPredict(*arguments, world, code);
          }};
}

}  // namespace trainer
