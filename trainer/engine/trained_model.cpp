#include "trainer/engine/trained_model.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "data/speed_copies.h"
#include "data/status_macros.h"
#include "trainer/checkpoint/checkpoint_store.h"
#include "trainer/config/config.h"
#include "trainer/engine/snapshot.h"
#include "trainer/model/factory.h"

namespace trainer::engine {

void MarkSpeedCopies(const std::vector<std::string>& speakers, const std::vector<double>& speeds,
                     model::Classifier& model) {
  if (speeds.empty()) return;
  auto copies = torch::zeros({static_cast<int64_t>(speakers.size())}, torch::kBool);
  for (size_t i = 0; i < speakers.size(); ++i) {
    copies.data_ptr<bool>()[i] = data::IsSpeedCopy(speakers[i], speeds);
  }
  model.SetCopies(std::move(copies));
}

absl::StatusOr<TrainedModel> LoadTrainedModel(const std::string& folder) {
  ASSIGN_OR_RETURN(const auto snapshot, checkpoint::CheckpointStore::Load(folder, /*with_optimizer=*/false));
  const auto& state = snapshot.state;
  const auto lacks = [&](const std::string& what) {
    return absl::DataLossError(
        absl::StrCat(folder, "/state.json: ", what, "; use another checkpoint of the run"));
  };
  if (!state.contains("speakers") || !state["speakers"].is_array()) return lacks("no speakers");
  TrainedModel trained;
  for (const auto& name : state["speakers"]) {
    if (!name.is_string()) return lacks("a speaker's name is not a string");
    trained.speakers.push_back(name.get<std::string>());
  }
  if (trained.speakers.empty()) return lacks("no speakers");
  if (!state.contains("front_end")) return lacks("no front_end");
  ASSIGN_OR_RETURN(trained.front_end, data::FrontEndFromJson(state["front_end"]));
  if (!state.contains("config")) return lacks("no config");
  ASSIGN_OR_RETURN(const auto config, config::FromJson(state["config"], folder + "/state.json"));
  trained.model =
      model::MakeModel(config, trained.front_end.n_mels, static_cast<int64_t>(trained.speakers.size()));
  RETURN_IF_ERROR(LoadModelTensors(snapshot.model, folder, *trained.model));
  if (state.contains("speeds")) {  // absent where there are none
    if (!state["speeds"].is_array()) return lacks("speeds is not a list");
    for (const auto& speed : state["speeds"]) {
      if (!speed.is_number()) return lacks("a speed is not a number");
      trained.speeds.push_back(speed.get<double>());
    }
  }
  MarkSpeedCopies(trained.speakers, trained.speeds, *trained.model);
  trained.model->eval();
  trained.step = state.value("step", int64_t{0});
  return trained;
}

absl::StatusOr<data::ExtractOptions> ExtractOptionsOf(const data::FrontEnd& front_end,
                                                      const std::string& checkpoint) {
  if (front_end.source != "extract" && front_end.source != "hw4") {
    return absl::FailedPreconditionError(
        absl::StrCat(checkpoint, " was trained on features that were not made from audio (source '",
                     front_end.source, "'); train on a data set of `mels extract` to use it on recordings"));
  }
  data::ExtractOptions options;
  options.n_mels = front_end.n_mels;
  options.trim_silence = front_end.trim_silence;
  options.normalize_db = front_end.normalize_db;
  const auto made = data::FrontEndToJson(data::MakeFrontEnd(options));
  const auto wanted = data::FrontEndToJson(front_end);
  for (const auto& [key, value] : wanted.items()) {
    if (key == "source" || made.value(key, nlohmann::json()) == value) continue;
    return absl::FailedPreconditionError(absl::StrCat(checkpoint, " was trained on features with ", key,
                                                      " = ", value.dump(), "; this program makes them with ",
                                                      made.value(key, nlohmann::json()).dump(), " only"));
  }
  return options;
}

}  // namespace trainer::engine
