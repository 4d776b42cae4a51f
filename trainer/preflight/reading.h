// The data set: is it what training needs, the same for all ranks, and how fast do batches come out of it?
#pragma once

#include <optional>

#include "launcher/mpi_session.h"
#include "trainer/config/config.h"
#include "trainer/engine/training_data.h"
#include "trainer/preflight/report.h"

namespace trainer::preflight {

// Opens it as training does. Nothing where training would refuse it on some rank, alike on all ranks.
// Collective.
std::optional<engine::TrainingData> OpenData(const config::Config& config, const launcher::World& world,
                                             Report& report);

// Random crops from the training loader, all ranks at once, for a second. False on all ranks where reading
// failed on one. Collective.
bool MeasureReading(const engine::TrainingData& data, const launcher::World& world, bool pinned,
                    Report& report);

}  // namespace trainer::preflight
