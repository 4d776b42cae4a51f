// Whether the run could write to run.dir, and whether that holds what it will keep there. Leaves nothing
// behind.
#pragma once

#include <cstdint>

#include "launcher/mpi_session.h"
#include "trainer/config/config.h"
#include "trainer/preflight/report.h"

namespace trainer::preflight {

struct RunFolder {
  bool in_use = false;                // a run is writing to it now
  bool usable = true;                 // training could begin in it, or go on
  double write_bytes_per_second = 0;  // synced to the disk; 0: not measured
};

// Looks for another run's lock, and writes to a file without a name. The same on all ranks. Collective.
RunFolder CheckRunFolder(const config::Config& config, const launcher::World& world, Report& report);

// Whether the checkpoints that will be kept fit on the disk, and can be written as often as they are due. For
// rank 0. `step_seconds`: 0 where not known.
void CheckDisk(const config::Config& config, const RunFolder& folder, int64_t checkpoint_bytes,
               bool has_validation, double step_seconds, Report& report);

}  // namespace trainer::preflight
