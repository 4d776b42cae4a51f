#include "trainer/engine/evaluation.h"

#include "launcher/control.h"

namespace trainer::engine {

absl::StatusOr<EvaluationFigures> Evaluate(const launcher::World& world, model::Classifier& model,
                                           torch::Device device, data::EvaluationLoader& loader) {
  torch::InferenceMode inference;
  model.eval();
  double loss = 0, correct = 0;
  int64_t utterances = 0;
  absl::Status status;
  while (true) {
    auto batch = loader.Next();
    status = batch.status();
    if (!status.ok() || *batch == nullptr) break;
    const auto speakers = (*batch)->speakers.to(device);
    const auto lengths = (*batch)->padded ? (*batch)->lengths.to(device) : torch::Tensor();
    const auto logits = model.Forward((*batch)->mels.to(device), lengths);
    loss +=
        -at::log_softmax(logits.to(torch::kFloat64), 1).gather(1, speakers.unsqueeze(1)).sum().item<double>();
    correct += logits.argmax(1).eq(speakers).sum().item<double>();
    utterances += speakers.size(0);
  }
  if (status = launcher::AgreeOn(world, status); !status.ok()) return status;
  const auto sums = launcher::AllReduceSum({loss, correct, static_cast<double>(utterances)});
  if (sums[2] == 0) return absl::InvalidArgumentError("there is no utterance to evaluate");
  return EvaluationFigures{sums[0] / sums[2], sums[1] / sums[2], static_cast<int64_t>(sums[2])};
}

}  // namespace trainer::engine
