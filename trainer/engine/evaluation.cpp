#include "trainer/engine/evaluation.h"

#include <algorithm>

#include "data/status_macros.h"
#include "launcher/control.h"
#include "trainer/engine/gather.h"

namespace trainer::engine {
namespace {

// This rank's part.
absl::StatusOr<std::vector<UtteranceScore>> ScoreMine(const launcher::World& world, model::Classifier& model,
                                                      torch::Device device, data::EvaluationLoader& loader,
                                                      int64_t max_frames,
                                                      const std::function<void()>& progress = {}) {
  std::vector<UtteranceScore> scores;
  const auto score = [&](const data::Batch& batch, const torch::Tensor& embeddings) {
    const auto classes = batch.speakers.to(device).unsqueeze(1);
    const auto logits = model.Answers(embeddings, classes.squeeze(1));
    const auto losses = (-at::log_softmax(logits.to(torch::kFloat64), 1).gather(1, classes)).to(torch::kCPU);
    const auto larger = logits.gt(logits.gather(1, classes)).sum(1).to(torch::kCPU);
    const auto predicted = logits.argmax(1).to(torch::kCPU);
    for (size_t row = 0; row < batch.utterances.size(); ++row) {
      scores.push_back({.utterance = batch.utterances[row],
                        .speaker = batch.speakers.const_data_ptr<int64_t>()[row],
                        .predicted = predicted.const_data_ptr<int64_t>()[row],
                        .larger = larger.const_data_ptr<int64_t>()[row],
                        .loss = losses.const_data_ptr<double>()[row]});
    }
    if (progress) progress();
  };
  RETURN_IF_ERROR(EmbedEach(world, model, device, loader, max_frames, score));
  return scores;
}

}  // namespace

absl::StatusOr<EvaluationFigures> Evaluate(const launcher::World& world, model::Classifier& model,
                                           torch::Device device, data::EvaluationLoader& loader,
                                           int64_t max_frames, const std::function<void()>& progress) {
  ASSIGN_OR_RETURN(const auto scores, ScoreMine(world, model, device, loader, max_frames, progress));
  double loss = 0, correct = 0;
  for (const auto& score : scores) {
    loss += score.loss;
    correct += score.predicted == score.speaker ? 1 : 0;
  }
  const auto sums = launcher::AllReduceSum({loss, correct, static_cast<double>(scores.size())});
  if (sums[2] == 0) return absl::InvalidArgumentError("there is no utterance to evaluate");
  return EvaluationFigures{sums[0] / sums[2], sums[1] / sums[2], static_cast<int64_t>(sums[2])};
}

absl::StatusOr<std::vector<UtteranceScore>> ScoreUtterances(const launcher::World& world,
                                                            model::Classifier& model, torch::Device device,
                                                            data::EvaluationLoader& loader,
                                                            int64_t max_frames) {
  ASSIGN_OR_RETURN(const auto mine, ScoreMine(world, model, device, loader, max_frames));
  auto scores = GatherRecords(world, mine);
  std::sort(scores.begin(), scores.end(),
            [](const auto& a, const auto& b) { return a.utterance < b.utterance; });
  return scores;
}

}  // namespace trainer::engine
