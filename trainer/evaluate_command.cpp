#include <cstdio>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "data/dataset.h"
#include "data/status_macros.h"
#include "launcher/control.h"
#include "launcher/device.h"
#include "trainer/commands.h"
#include "trainer/engine/evaluation.h"
#include "trainer/engine/trained_model.h"
#include "trainer/engine/training_data.h"

namespace trainer {
namespace {

struct Job {
  engine::TrainedModel trained;
  std::shared_ptr<const data::Dataset> dataset;
  std::vector<int64_t> utterances;
  std::vector<int64_t> class_of_speaker;
};

// Features made in another way than those the model was trained on are legal, but the figures mean less: says
// so.
void WarnOfFrontEnd(const Job& job, const EvaluateArguments& arguments) {
  const auto mine = data::FrontEndToJson(job.dataset->manifest().front_end);
  const auto trained = data::FrontEndToJson(job.trained.front_end);
  for (const auto& [key, value] : trained.items()) {
    if (key == "source" || mine.value(key, nlohmann::json()) == value) continue;
    std::fprintf(stderr, "trainer: warning: %s was made with %s = %s, the model was trained on %s\n",
                 arguments.data.c_str(), key.c_str(), mine.value(key, nlohmann::json()).dump().c_str(),
                 value.dump().c_str());
  }
}

// Every utterance must have a speaker, and the model must know it by name.
absl::Status CheckSpeakersKnown(const Job& job, const EvaluateArguments& arguments) {
  for (const int64_t utterance : job.utterances) {
    const int32_t speaker = job.dataset->speaker(utterance);
    if (speaker < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat(arguments.data, ": split '", arguments.split,
                       "' has utterances without a speaker, so there is nothing to "
                       "compare with; choose a labelled split with --split"));
    }
    if (job.class_of_speaker[static_cast<size_t>(speaker)] < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat(arguments.data, ": split '", arguments.split, "' has speaker '",
                       job.dataset->manifest().speakers[static_cast<size_t>(speaker)], "', whom ",
                       arguments.checkpoint, " was not trained on; evaluate on a split of its own speakers"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Job> Prepare(const EvaluateArguments& arguments) {
  Job job;
  ASSIGN_OR_RETURN(job.trained, engine::LoadTrainedModel(arguments.checkpoint));
  ASSIGN_OR_RETURN(job.dataset, data::Dataset::Open(arguments.data));
  const auto& manifest = job.dataset->manifest();
  if (manifest.front_end.n_mels != job.trained.front_end.n_mels) {
    return absl::InvalidArgumentError(
        absl::StrCat(arguments.data, " has ", manifest.front_end.n_mels, " mels a frame, ",
                     arguments.checkpoint, " was trained on ", job.trained.front_end.n_mels,
                     "; extract the audio with --n-mels ", job.trained.front_end.n_mels));
  }
  ASSIGN_OR_RETURN(job.utterances, job.dataset->Split(arguments.split));
  job.class_of_speaker = engine::MatchSpeakers(manifest.speakers, job.trained.speakers);
  RETURN_IF_ERROR(CheckSpeakersKnown(job, arguments));
  return job;
}

}  // namespace

absl::Status Evaluate(const EvaluateArguments& arguments, const launcher::World& world, int* exit_code) {
  ASSIGN_OR_RETURN(const auto device, launcher::BindDevice(world, {arguments.device, arguments.threads}));
  auto job = Prepare(arguments);
  RETURN_IF_ERROR(launcher::AgreeOn(world, job.status()));
  if (world.rank == 0) WarnOfFrontEnd(*job, arguments);
  job->trained.model->to(device);
  const auto loader = engine::MakeEvaluationLoader(job->dataset, job->utterances, job->class_of_speaker,
                                                   world, arguments.frames, device.is_cuda());
  ASSIGN_OR_RETURN(const auto figures, engine::Evaluate(world, *job->trained.model, device, *loader));
  if (world.rank == 0) {
    const nlohmann::ordered_json line = {{"accuracy", figures.accuracy},       {"loss", figures.loss},
                                         {"utterances", figures.utterances},   {"split", arguments.split},
                                         {"frames", arguments.frames},         {"data", arguments.data},
                                         {"checkpoint", arguments.checkpoint}, {"step", job->trained.step}};
    std::printf("%s\n", line.dump().c_str());
  }
  *exit_code = kExitDone;
  return absl::OkStatus();
}

}  // namespace trainer
