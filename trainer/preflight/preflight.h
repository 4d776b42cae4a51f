// Everything that a run would need, tried out within a minute.
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "launcher/mpi_session.h"
#include "trainer/config/config.h"
#include "trainer/preflight/report.h"

namespace trainer::preflight {

// Told, on rank 0, what comes next.
using Progress = std::function<void(const std::string& what)>;

// How the configuration is come by; called on every rank.
using LoadFunction = std::function<absl::StatusOr<config::Config>()>;

// Runs all probes, each as far as those before it allow, and adds what they find to `report`. `name`: of the
// configuration. Collective. Returns an error, alike on all ranks, where there is no configuration to begin
// with.
absl::Status Run(const std::string& name, const LoadFunction& load, const launcher::World& world,
                 const Progress& progress, Report& report);

}  // namespace trainer::preflight
