// The processor of this host, as /proc/cpuinfo describes it.
#pragma once

#include <string>

namespace trainer::preflight {

// "AMD EPYC 9654 96-Core Processor"; "unknown" where the system does not say.
std::string CpuModel();

// Whether it multiplies bfloat16 matrices by instructions of its own.
bool CpuHasBFloat16();

}  // namespace trainer::preflight
