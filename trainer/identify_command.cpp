// trainer identify: who speaks in these recordings?
#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "data/audio_sources.h"
#include "data/extract.h"
#include "data/status_macros.h"
#include "trainer/commands.h"
#include "trainer/engine/embedding_pass.h"
#include "trainer/engine/trained_model.h"
#include "trainer/option_checks.h"
#include "trainer/output.h"
#include "trainer/scoring/verification.h"
#include "trainer/split_job.h"

namespace trainer {
namespace {

constexpr size_t kShown = 5;

struct IdentifyArguments {
  ModelOptions model;
  std::string enrol;  // folder or CSV of known voices; empty: the model's own speakers
  std::vector<std::string> files;
  bool json = false;
};

// From a recording to the model's view of it.
class Listener {
 public:
  static absl::StatusOr<Listener> Make(const ModelOptions& options, torch::Device device) {
    ASSIGN_OR_RETURN(auto trained, engine::LoadTrainedModel(options.checkpoint));
    ASSIGN_OR_RETURN(auto extract, engine::ExtractOptionsOf(trained.front_end, options.checkpoint));
    ASSIGN_OR_RETURN(auto log_mel, data::LogMel::Create(extract.n_mels));
    trained.model->to(device);
    return Listener(std::move(trained), extract, std::move(log_mel), options.max_frames, device);
  }

  const std::vector<std::string>& speakers() const { return trained_.speakers; }
  bool trained_on_hw4() const { return trained_.front_end.source == "hw4"; }

  // (1, E), on the model's device. Errors read on after the path.
  absl::StatusOr<torch::Tensor> Embed(const std::string& path) const {
    ASSIGN_OR_RETURN(auto features, data::ExtractFeatures(path, extract_, log_mel_));
    const auto frames = static_cast<int64_t>(features.frames.size()) / extract_.n_mels;
    const auto mels = torch::from_blob(features.frames.data(), {1, frames, extract_.n_mels});
    auto embedding = engine::EmbedInWindows(*trained_.model, mels.to(device_), {}, max_frames_);
    if (!embedding.isfinite().all().item<bool>()) return absl::DataLossError("has no finite embedding");
    return embedding;
  }

  // (n_speakers) float64, on the CPU.
  torch::Tensor Probabilities(const torch::Tensor& embedding) const {
    return torch::softmax(trained_.model->Answers(embedding).to(torch::kCPU, torch::kFloat64), 1).squeeze(0);
  }

 private:
  Listener(engine::TrainedModel trained, const data::ExtractOptions& extract, data::LogMel log_mel,
           int64_t max_frames, torch::Device device)
      : trained_(std::move(trained)),
        extract_(extract),
        log_mel_(std::move(log_mel)),
        max_frames_(max_frames),
        device_(device) {}

  engine::TrainedModel trained_;
  data::ExtractOptions extract_;
  data::LogMel log_mel_;
  int64_t max_frames_;
  torch::Device device_;
};

// One line about a recording that cannot be used.
void Complain(const std::string& path, const absl::Status& status) {
  std::fprintf(stderr, "trainer: %s: %s\n", path.c_str(), std::string(status.message()).c_str());
}

std::vector<float> Values(const torch::Tensor& embedding) {
  const auto flat = embedding.to(torch::kCPU, torch::kFloat32).contiguous();
  return {flat.const_data_ptr<float>(), flat.const_data_ptr<float>() + flat.numel()};
}

// A known speaker: the mean of his recordings' embeddings, each brought to unit length first.
struct Voice {
  std::string speaker;
  std::vector<float> mean;
};

// Recordings that cannot be read are complained about, counted in `bad` and left out; so is a speaker of whom
// nothing is left. kInvalidArgument where nobody is left.
absl::StatusOr<std::vector<Voice>> Enrol(const std::string& source, const Listener& listener, int* bad) {
  ASSIGN_OR_RETURN(const auto list, data::ListRecordings(source, /*allow_empty=*/true));
  std::vector<torch::Tensor> sums(list.speakers.size());
  for (const auto& item : list.items) {
    const auto embedding = listener.Embed(item.path);
    if (!embedding.ok()) {
      Complain(item.path, embedding.status());
      ++*bad;
      continue;
    }
    const auto unit = *embedding / embedding->norm().clamp_min(1e-30);
    auto& sum = sums[static_cast<size_t>(item.speaker)];
    sum = sum.defined() ? sum + unit : unit;
  }
  std::vector<Voice> voices;
  for (size_t s = 0; s < sums.size(); ++s) {
    // Only the direction counts, so the sum will do for the mean.
    if (sums[s].defined()) voices.push_back({list.speakers[s], Values(sums[s])});
  }
  if (voices.empty()) return absl::InvalidArgumentError(absl::StrCat(source, ": no recording can be used"));
  return voices;
}

struct Candidate {
  std::string speaker;
  double score = 0;  // probability, or cosine
};

std::vector<Candidate> Best(std::vector<Candidate> candidates) {
  std::stable_sort(candidates.begin(), candidates.end(),
                   [](const auto& a, const auto& b) { return a.score > b.score; });
  candidates.resize(std::min(candidates.size(), kShown));
  return candidates;
}

std::vector<Candidate> Compare(const torch::Tensor& embedding, const Listener& listener,
                               const std::vector<Voice>& voices) {
  std::vector<Candidate> candidates;
  if (voices.empty()) {
    const auto probabilities = listener.Probabilities(embedding);
    for (size_t s = 0; s < listener.speakers().size(); ++s) {
      candidates.push_back({listener.speakers()[s], probabilities.const_data_ptr<double>()[s]});
    }
  } else {
    const auto values = Values(embedding);
    for (const auto& voice : voices) {
      candidates.push_back({voice.speaker, scoring::Cosine(values, voice.mean)});
    }
  }
  return Best(std::move(candidates));
}

void Print(const std::string& file, const std::vector<Candidate>& candidates, const char* kind, bool json) {
  if (json) {
    auto list = nlohmann::ordered_json::array();
    for (const auto& candidate : candidates) {
      list.push_back({{"speaker", candidate.speaker}, {kind, candidate.score}});
    }
    PrintJsonLine({{"file", file}, {"candidates", list}});
    return;
  }
  size_t width = 0;
  for (const auto& candidate : candidates) width = std::max(width, candidate.speaker.size());
  std::printf("%s\n", file.c_str());
  for (size_t i = 0; i < candidates.size(); ++i) {
    std::printf("  %zu  %-*s  %s %.4f\n", i + 1, static_cast<int>(width), candidates[i].speaker.c_str(), kind,
                candidates[i].score);
  }
}

absl::Status RunIdentify(const IdentifyArguments& arguments, const launcher::World& world, int* exit_code) {
  if (world.size > 1) {
    return absl::InvalidArgumentError("identify works in one process; start it without mpirun");
  }
  ASSIGN_OR_RETURN(const auto device, arguments.model.Bind(world));
  const torch::InferenceMode inference;
  ASSIGN_OR_RETURN(const auto listener, Listener::Make(arguments.model, device));
  if (listener.trained_on_hw4()) {
    std::fprintf(stderr,
                 "trainer: warning: %s was trained on HW4's features; recordings are brought to them by the "
                 "settings that are recorded for HW4, not by the very programs\n",
                 arguments.model.checkpoint.c_str());
  }
  int bad = 0;
  std::vector<Voice> voices;
  if (!arguments.enrol.empty()) {
    ASSIGN_OR_RETURN(voices, Enrol(arguments.enrol, listener, &bad));
  }
  for (const auto& file : arguments.files) {
    const auto embedding = listener.Embed(file);
    if (!embedding.ok()) {
      Complain(file, embedding.status());
      ++bad;
      continue;
    }
    Print(file, Compare(*embedding, listener, voices), arguments.enrol.empty() ? "probability" : "cosine",
          arguments.json);
  }
  *exit_code = bad > 0 ? kExitBadInput : kExitDone;
  return absl::OkStatus();
}

}  // namespace

Command AddIdentify(CLI::App& app) {
  const auto arguments = std::make_shared<IdentifyArguments>();
  auto* command = app.add_subcommand("identify", "who speaks in recordings: the five likeliest, with scores");
  arguments->model.AddTo(command);
  command
      ->add_option("--enrol", arguments->enrol,
                   "known voices: a folder <speaker>/<recordings>, or a CSV as for `mels extract`; default: "
                   "the speakers that the model was trained on")
      ->check(NotEmpty());
  command->add_flag("--json", arguments->json, "one JSON line a recording");
  command->add_option("recordings", arguments->files, "flac, wav, ogg or mp3 files")->required();
  return {command, [arguments](const launcher::World& world, int* code) {
            return RunIdentify(*arguments, world, code);
          }};
}

}  // namespace trainer
