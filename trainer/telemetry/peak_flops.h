// What a GPU could do at most.
#pragma once

#include <optional>
#include <string>

namespace trainer::telemetry {

// float32 floating-point operations a second of the GPU that CUDA calls `name`, without tensor cores, as its
// data sheet says; nothing where that is not known here.
std::optional<double> PeakFlops(const std::string& name);

}  // namespace trainer::telemetry
