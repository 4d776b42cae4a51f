// data.stage_to: the run's shards on each host's own disk.
#pragma once

#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "launcher/mpi_session.h"
#include "launcher/stop_signals.h"
#include "trainer/config/config.h"

namespace trainer::engine {

struct StagedData {
  std::string folder;   // to read from
  std::string summary;  // for the log; empty where nothing was to be done
};

// Without data.stage_to this is data.path. With it the first rank of each host copies what training and
// validation need (data/staging.h) while the others wait; rank 0 shows how far its own host is. Collective.
// Errors on all ranks alike; kCancelled: one that copied was asked to stop. `alive`, if any, is called again
// and again while there is progress, or another job's copy is waited for.
absl::StatusOr<StagedData> StageData(const config::Config& config, const launcher::World& world,
                                     const launcher::StopSignals& stop,
                                     const std::function<void()>& alive = {});

}  // namespace trainer::engine
