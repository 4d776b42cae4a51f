#include "trainer/engine/trained_model.h"

#include "absl/strings/str_cat.h"
#include "data/status_macros.h"
#include "trainer/checkpoint/checkpoint_store.h"
#include "trainer/config/config.h"
#include "trainer/engine/snapshot.h"
#include "trainer/model/factory.h"

namespace trainer::engine {

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
  trained.model->eval();
  trained.step = state.value("step", int64_t{0});
  return trained;
}

}  // namespace trainer::engine
