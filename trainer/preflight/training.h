// Some real steps of the run, into nothing: how long they take, what they need.
#pragma once

#include <torch/torch.h>

#include <optional>

#include "launcher/communicator.h"
#include "launcher/mpi_session.h"
#include "trainer/config/config.h"
#include "trainer/engine/training_data.h"
#include "trainer/preflight/report.h"

namespace trainer::preflight {

struct TrainingFigures {
  int64_t checkpoint_bytes = 0;
  double step_seconds = 0;        // 0: the steps failed
  double validation_seconds = 0;  // of the whole split; 0: there is none
};

// Builds the model, takes up what run.dir holds (where `may_resume`), trains for some four seconds from the
// training loader and validates some utterances; writes nothing. Collective; the same on all ranks. Nothing
// where the model could not even be built.
std::optional<TrainingFigures> TryTraining(const config::Config& config, const launcher::World& world,
                                           torch::Device device, const engine::TrainingData& data,
                                           launcher::Communicator& communicator, bool may_resume,
                                           Report& report);

}  // namespace trainer::preflight
