// Whether the hosts agree on what time it is.
#pragma once

#include "launcher/mpi_session.h"
#include "trainer/preflight/report.h"

namespace trainer::preflight {

// Collective. Right to about a tenth of a millisecond where nothing else keeps the hosts busy.
void CheckClocks(const launcher::World& world, Report& report);

}  // namespace trainer::preflight
