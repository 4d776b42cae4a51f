// Everything that a run would need, tried out within a minute.
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "launcher/mpi_session.h"
#include "trainer/config/config.h"
#include "trainer/preflight/report.h"

namespace trainer::preflight {

// What Run goes through, in this order.
inline constexpr const char* kParts[] = {
    "versions",      "configuration, hosts, clocks",     "data set, run folder",
    "reading",       "matrix multiplication and memory", "all-reduce",
    "training steps"};

// Told, on every rank, which of kParts comes next.
using Progress = std::function<void(int part)>;

// How the configuration is come by; called on every rank.
using LoadFunction = std::function<absl::StatusOr<config::Config>()>;

// Runs all probes, each as far as those before it allow, and adds what they find to `report`. `name`: of the
// configuration. Collective. Returns an error, alike on all ranks, where there is no configuration to begin
// with.
absl::Status Run(const std::string& name, const LoadFunction& load, const launcher::World& world,
                 const Progress& progress, Report& report);

}  // namespace trainer::preflight
