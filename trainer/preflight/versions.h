// Whether all ranks run the same program on the same libraries.
#pragma once

#include "launcher/mpi_session.h"
#include "trainer/preflight/report.h"

namespace trainer::preflight {

// False on all ranks where their programs differ: then they must not go on, for they may not even agree on
// what comes next. Other libraries of other versions are errors too, but no reason to end. Collective, and
// the first thing to be.
bool CheckVersions(const launcher::World& world, Report& report);

}  // namespace trainer::preflight
