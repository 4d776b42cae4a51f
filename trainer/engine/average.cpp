#include "trainer/engine/average.h"

#include "absl/strings/str_cat.h"
#include "data/status_macros.h"

namespace trainer::engine {
namespace {

int64_t StepOf(const checkpoint::Snapshot& snapshot) { return snapshot.state.value("step", int64_t{0}); }

absl::Status CheckAlike(const checkpoint::Snapshot& a, const std::string& a_folder,
                        const checkpoint::Snapshot& b, const std::string& b_folder) {
  const auto differ = [&](const std::string& what) {
    return absl::InvalidArgumentError(absl::StrCat(a_folder, " and ", b_folder, " differ in ", what,
                                                   "; average checkpoints of one run, or of runs that differ "
                                                   "in their weights alone"));
  };
  if (a.state.value("speakers", nlohmann::json()) != b.state.value("speakers", nlohmann::json())) {
    return differ("their speakers");
  }
  for (const char* key : {"/front_end", "/config/model", "/config/loss", "/config/data/normalize"}) {
    const nlohmann::json::json_pointer pointer(key);
    auto mine = a.state.value(pointer, nlohmann::json()), theirs = b.state.value(pointer, nlohmann::json());
    // Where the weights once came from does not matter.
    for (auto* json : {&mine, &theirs}) {
      if (json->is_object()) json->erase("init_from");
    }
    if (mine != theirs) return differ(std::string(key + 1));
  }
  if (a.model.size() != b.model.size()) return differ("their models");
  for (size_t i = 0; i < a.model.size(); ++i) {
    const auto& [name, tensor] = a.model[i];
    const auto& [other_name, other] = b.model[i];
    if (name != other_name || tensor.sizes() != other.sizes() ||
        tensor.scalar_type() != other.scalar_type()) {
      return differ(absl::StrCat("their models (", name, ")"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<checkpoint::Snapshot> AverageCheckpoints(const std::vector<std::string>& folders) {
  checkpoint::Snapshot newest;
  std::string newest_folder;
  std::vector<torch::Tensor> sums;
  for (const std::string& folder : folders) {
    ASSIGN_OR_RETURN(auto snapshot, checkpoint::CheckpointStore::Load(folder, /*with_optimizer=*/false));
    if (!newest_folder.empty()) RETURN_IF_ERROR(CheckAlike(newest, newest_folder, snapshot, folder));
    sums.resize(snapshot.model.size());
    for (size_t i = 0; i < sums.size(); ++i) {
      const auto& tensor = snapshot.model[i].second;
      if (!tensor.is_floating_point()) continue;
      const auto wide = tensor.to(torch::kFloat64);
      sums[i] = sums[i].defined() ? sums[i] + wide : wide;
    }
    if (newest_folder.empty() || StepOf(snapshot) > StepOf(newest)) {
      newest = std::move(snapshot);
      newest_folder = folder;
    }
  }
  for (size_t i = 0; i < sums.size(); ++i) {
    auto& tensor = newest.model[i].second;
    if (sums[i].defined()) {
      tensor = (sums[i] / static_cast<double>(folders.size())).to(tensor.scalar_type());
    }
  }
  newest.state["averaged"] = folders;
  return newest;
}

}  // namespace trainer::engine
