// The processor of this host, as /proc/cpuinfo describes it.
#pragma once

#include <string>

namespace trainer::preflight {

// "AMD EPYC 9654 96-Core Processor"; "unknown" where the system does not say.
std::string CpuModel();

}  // namespace trainer::preflight
