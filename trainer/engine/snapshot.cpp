#include "trainer/engine/snapshot.h"

#include <algorithm>
#include <sstream>
#include <unordered_map>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace trainer::engine {
namespace {

std::string ShapeOf(const torch::Tensor& tensor) {
  std::ostringstream out;
  out << tensor.sizes();
  return out.str();
}

absl::Status AnotherModel(const std::string& source, const std::string& difference) {
  return absl::InvalidArgumentError(absl::StrCat(
      source, " holds another model: ", difference,
      "; set the model.* keys as in the config.yaml of its run, or give this run another run.dir"));
}

// Copies `tensors` into `targets` (name -> live tensor), each exactly once.
absl::Status CopyByName(const checkpoint::NamedTensors& tensors, const std::string& source,
                        std::unordered_map<std::string, torch::Tensor> targets) {
  torch::NoGradGuard no_grad;
  // All checks come first, so that an error leaves every target as it was.
  std::vector<std::pair<torch::Tensor, torch::Tensor>> copies;
  for (const auto& [name, tensor] : tensors) {
    const auto target = targets.find(name);
    if (target == targets.end())
      return AnotherModel(source, absl::StrCat("it has ", name, ", this one has not"));
    if (target->second.sizes() != tensor.sizes()) {
      return AnotherModel(source, absl::StrCat(name, " is ", ShapeOf(tensor), " there and ",
                                               ShapeOf(target->second), " here"));
    }
    copies.emplace_back(target->second, tensor);
    targets.erase(target);
  }
  if (!targets.empty()) {
    return AnotherModel(source, absl::StrCat("it lacks ", targets.begin()->first, ", which this one has"));
  }
  for (auto& [target, tensor] : copies) target.copy_(tensor);
  return absl::OkStatus();
}

using Targets = std::unordered_map<std::string, torch::Tensor>;

// The model's parameters and buffers whose names begin with `prefix`, by the rest of their names.
Targets ModelTargets(torch::nn::Module& model, const std::string& prefix = "") {
  Targets targets;
  const auto add = [&](const auto& named) {
    for (const auto& item : named) {
      if (absl::StartsWith(item.key(), prefix)) targets[item.key().substr(prefix.size())] = item.value();
    }
  };
  add(model.named_parameters());
  add(model.named_buffers());
  return targets;
}

Targets OptimizerTargets(TrainStep& step) {
  Targets targets;
  for (const auto& slot : step.parameters().slots()) {
    targets["exp_avg." + slot.name] = step.parameters().View(step.optimizer().exp_avg(), slot);
    targets["exp_avg_sq." + slot.name] = step.parameters().View(step.optimizer().exp_avg_sq(), slot);
    if (step.average().defined()) {
      targets["value." + slot.name] = step.parameters().View(step.average(), slot);
    }
  }
  return targets;
}

}  // namespace

checkpoint::Snapshot TakeSnapshot(TrainStep& step) {
  torch::NoGradGuard no_grad;
  const auto copy = [](const torch::Tensor& t) {
    return t.detach().to(torch::kCPU, t.scalar_type(), false, true);
  };
  checkpoint::Snapshot snapshot;
  step.SwapAverage();
  for (const auto& item : step.model().named_parameters())
    snapshot.model.emplace_back(item.key(), copy(item.value()));
  for (const auto& item : step.model().named_buffers())
    snapshot.model.emplace_back(item.key(), copy(item.value()));
  for (const auto& slot : step.parameters().slots()) {
    snapshot.optimizer.emplace_back("exp_avg." + slot.name,
                                    copy(step.parameters().View(step.optimizer().exp_avg(), slot)));
    snapshot.optimizer.emplace_back("exp_avg_sq." + slot.name,
                                    copy(step.parameters().View(step.optimizer().exp_avg_sq(), slot)));
    if (step.average().defined()) {
      snapshot.optimizer.emplace_back("value." + slot.name,
                                      copy(step.parameters().View(step.average(), slot)));
    }
  }
  step.SwapAverage();
  return snapshot;
}

absl::Status LoadModelTensors(const checkpoint::NamedTensors& tensors, const std::string& source,
                              torch::nn::Module& model) {
  return CopyByName(tensors, source, ModelTargets(model));
}

absl::Status InitialiseFrom(const checkpoint::NamedTensors& tensors, const std::string& source,
                            torch::nn::Module& model) {
  const bool encoder_alone = std::all_of(tensors.begin(), tensors.end(), [](const auto& named) {
    return absl::StartsWith(named.first, "layers.");
  });
  if (tensors.empty() || !encoder_alone) return LoadModelTensors(tensors, source, model);
  return CopyByName(tensors, source, ModelTargets(model, "encoder."));
}

absl::Status RestoreSnapshot(const checkpoint::Snapshot& snapshot, const std::string& source, int64_t updates,
                             TrainStep& step) {
  if (auto status = LoadModelTensors(snapshot.model, source, step.model()); !status.ok()) return status;
  if (auto status = CopyByName(snapshot.optimizer, source, OptimizerTargets(step)); !status.ok())
    return status;
  step.SwapAverage();  // the model's tensors were the average
  step.optimizer().set_updates(updates);
  return absl::OkStatus();
}

}  // namespace trainer::engine
