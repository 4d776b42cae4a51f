// How fast each rank's device multiplies matrices and copies memory: alone on its host, and all at once.
#pragma once

#include <torch/torch.h>

#include "launcher/mpi_session.h"
#include "trainer/preflight/report.h"

namespace trainer::preflight {

// Names ranks and hosts that are slower than the others. Takes some three seconds. Collective.
void MeasureSpeed(const launcher::World& world, torch::Device device, Report& report);

}  // namespace trainer::preflight
