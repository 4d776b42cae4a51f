#pragma once

// Starts the run under mpirun, and again where it fails: what the program `launcher` does.

#include "launcher/tool/child_process.h"
#include "launcher/tool/settings.h"

namespace launcher::tool {

// Returns the exit code of the launcher. What the ranks print goes to the standard streams unchanged; its own
// messages go to standard error, one line each, beginning with "launcher: ". Returns when the run is over,
// when it has failed too often, or when a signal has stopped it.
int Supervise(const Settings& settings, Processes& processes);

}  // namespace launcher::tool
