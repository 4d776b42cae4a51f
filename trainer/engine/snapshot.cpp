#include "trainer/engine/snapshot.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <sstream>
#include <unordered_map>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "trainer/checkpoint/give_way.h"

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

void SnapshotBuffer::Reserve(TrainStep& step) {
  const torch::Device device = step.parameters().values().device();
  const auto host_of = [&](std::vector<Copy>& copies, const torch::Tensor& live) {
    const auto options = torch::TensorOptions().dtype(live.scalar_type()).pinned_memory(!device.is_cpu());
    return copies.emplace_back(live, torch::empty(live.sizes(), options)).host;
  };
  const auto& parameters = step.parameters();
  const auto values = host_of(flat_, parameters.values());
  const auto exp_avg = host_of(flat_, step.optimizer().exp_avg());
  const auto exp_avg_sq = host_of(flat_, step.optimizer().exp_avg_sq());
  const auto average = step.average().defined() ? host_of(flat_, step.average()) : torch::Tensor();
  std::unordered_map<std::string, torch::Tensor> saved;
  for (const auto& slot : parameters.slots()) {
    saved[slot.name] = parameters.View(average.defined() ? average : values, slot);
    const auto add = [&](const char* prefix, const torch::Tensor& flat) {
      snapshot_.optimizer.emplace_back(absl::StrCat(prefix, slot.name), parameters.View(flat, slot));
    };
    add("exp_avg.", exp_avg);
    add("exp_avg_sq.", exp_avg_sq);
    if (average.defined()) add("value.", values);
  }
  for (const auto& item : step.model().named_parameters()) {
    snapshot_.model.emplace_back(item.key(), saved.at(item.key()));
  }
  for (const auto& item : step.model().named_buffers()) {
    snapshot_.model.emplace_back(item.key(), host_of(buffers_, item.value()));
  }
}

void SnapshotBuffer::Prepare(TrainStep& step) {
  if (!step.parameters().values().device().is_cpu()) return;
  Reserve(step);
  touched_ = std::async(std::launch::async, [this] {
    checkpoint::GiveWayToTraining();
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    for (const auto& [live, host] : flat_) {
      auto* bytes = static_cast<volatile char*>(host.mutable_data_ptr());
      for (size_t at = 0; at < host.nbytes() && !hurry_; at += page) bytes[at] = 0;
    }
  });
}

checkpoint::Snapshot SnapshotBuffer::Take(TrainStep& step) {
  torch::NoGradGuard no_grad;
  Wait();
  if (flat_.empty()) Reserve(step);
  if (touched_.valid()) {
    hurry_ = true;
    touched_.get();
  }
  const torch::Device device = step.parameters().values().device();
  for (auto& [live, host] : buffers_) host.copy_(live, /*non_blocking=*/true);
  if (device.is_cpu()) {
    // Not copy_: LibTorch would start a team of threads for this one.
    complete_ = std::async(std::launch::async, [this] {
                  for (auto& [live, host] : flat_) {
                    std::memcpy(host.mutable_data_ptr(), live.const_data_ptr(), live.nbytes());
                  }
                }).share();
  } else {
    for (auto& [live, host] : flat_) host.copy_(live, /*non_blocking=*/true);
    c10::impl::VirtualGuardImpl(device.type()).getStream(device).synchronize();
  }
  return snapshot_;
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
