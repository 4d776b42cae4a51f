#include "trainer/split_job.h"

#include <cstdio>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "data/status_macros.h"
#include "trainer/engine/training_data.h"
#include "trainer/option_checks.h"

namespace trainer {
namespace {

constexpr int64_t kMostFrames = 1'000'000'000;  // 116 days
constexpr int64_t kMostThreads = 1024;          // as for mels

}  // namespace

void ModelOptions::AddTo(CLI::App* command) {
  command->add_option("--checkpoint", checkpoint, "checkpoint folder, e.g. RUN/checkpoints/best")
      ->required()
      ->check(NotEmpty());
  command
      ->add_option("--max-frames", max_frames,
                   "score longer inputs in windows of at most so many frames (10 ms each)")
      ->check(WholeNumber(1, kMostFrames))
      ->capture_default_str();
  command->add_option("--device", device, "auto, cpu or cuda")->capture_default_str();
  command->add_option("--threads", threads, "threads a rank; 0: this machine's cores over its ranks")
      ->check(WholeNumber(0, kMostThreads))
      ->capture_default_str();
}

absl::StatusOr<torch::Device> ModelOptions::Bind(const launcher::World& world) const {
  return launcher::BindDevice(world, {device, threads});
}

void SplitOptions::AddTo(CLI::App* command) {
  model.AddTo(command);
  command->add_option("--data", data, "the data set's folder")->required()->check(NotEmpty());
  command->add_option("--split", split, "which split")->capture_default_str();
  command->add_option("--frames", frames, "only the first so many frames of each utterance; 0: all")
      ->check(WholeNumber(0, kMostFrames))
      ->capture_default_str();
}

std::string SplitJob::SpeakerName(int64_t utterance) const {
  const int32_t speaker = dataset->speaker(utterance);
  return speaker < 0 ? "" : dataset->manifest().speakers[static_cast<size_t>(speaker)];
}

absl::StatusOr<std::vector<std::string>> SplitJob::Ids() const {
  std::vector<std::string> ids;
  ids.reserve(utterances.size());
  for (const int64_t utterance : utterances) {
    ASSIGN_OR_RETURN(auto id, dataset->utterance_id(utterance));
    ids.push_back(std::move(id));
  }
  return ids;
}

std::unique_ptr<data::EvaluationLoader> SplitJob::Start(const SplitOptions& options,
                                                        const launcher::World& world,
                                                        torch::Device device) const {
  trained.model->to(device);
  return engine::MakeEvaluationLoader(dataset, utterances, class_of_speaker, world, options.frames,
                                      device.is_cuda());
}

absl::StatusOr<engine::Embeddings> SplitJob::Embed(const SplitOptions& options, const launcher::World& world,
                                                   torch::Device device) const {
  const auto loader = Start(options, world, device);
  return engine::EmbedUtterances(world, *trained.model, device, *loader, options.model.max_frames,
                                 utterances);
}

absl::StatusOr<SplitJob> OpenWithoutSplit(const SplitOptions& options) {
  SplitJob job;
  const auto& checkpoint = options.model.checkpoint;
  ASSIGN_OR_RETURN(job.trained, engine::LoadTrainedModel(checkpoint));
  ASSIGN_OR_RETURN(job.dataset, data::Dataset::Open(options.data));
  const auto& manifest = job.dataset->manifest();
  if (manifest.front_end.n_mels != job.trained.front_end.n_mels) {
    return absl::InvalidArgumentError(absl::StrCat(
        options.data, " has ", manifest.front_end.n_mels, " mels a frame, ", checkpoint, " was trained on ",
        job.trained.front_end.n_mels, "; extract the audio with --n-mels ", job.trained.front_end.n_mels));
  }
  job.class_of_speaker = engine::MatchSpeakers(manifest.speakers, job.trained.speakers);
  return job;
}

absl::StatusOr<SplitJob> OpenSplitJob(const SplitOptions& options) {
  ASSIGN_OR_RETURN(SplitJob job, OpenWithoutSplit(options));
  ASSIGN_OR_RETURN(job.utterances, job.dataset->Split(options.split));
  if (job.utterances.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(options.data, ": split '", options.split, "' is empty; choose another with --split"));
  }
  return job;
}

void WarnOfFrontEnd(const SplitJob& job, const SplitOptions& options) {
  const auto mine = data::FrontEndToJson(job.dataset->manifest().front_end);
  const auto trained = data::FrontEndToJson(job.trained.front_end);
  for (const auto& [key, value] : trained.items()) {
    if (key == "source" || mine.value(key, nlohmann::json()) == value) continue;
    std::fprintf(stderr, "trainer: warning: %s was made with %s = %s, %s was trained on %s\n",
                 options.data.c_str(), key.c_str(), mine.value(key, nlohmann::json()).dump().c_str(),
                 options.model.checkpoint.c_str(), value.dump().c_str());
  }
}

}  // namespace trainer
