// What summing over all ranks costs, by size.
#pragma once

#include <torch/torch.h>

#include "launcher/communicator.h"
#include "launcher/mpi_session.h"
#include "trainer/preflight/report.h"

namespace trainer::preflight {

// Checks the sums, too. Takes some two seconds; on a slow network the largest sizes are left out. Collective.
void MeasureAllReduce(const launcher::World& world, torch::Device device,
                      launcher::Communicator& communicator, Report& report);

}  // namespace trainer::preflight
