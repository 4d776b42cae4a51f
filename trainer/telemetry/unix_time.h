#pragma once

#include <chrono>

namespace trainer::telemetry {

// Seconds since 1970, of this host's clock.
inline double UnixSeconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace trainer::telemetry
