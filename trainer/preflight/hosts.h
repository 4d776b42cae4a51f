// Which rank is where, on which device, with how many cores and how much memory.
#pragma once

#include <torch/torch.h>

#include <optional>

#include "launcher/mpi_session.h"
#include "trainer/config/config.h"
#include "trainer/preflight/report.h"

namespace trainer::preflight {

// Binds the ranks to their devices as training does, and describes them. Nothing where training would refuse
// that, alike on all ranks. Collective.
std::optional<torch::Device> BindAndDescribeHosts(const config::Config& config, const launcher::World& world,
                                                  Report& report);

}  // namespace trainer::preflight
