// The memory of hosts and devices: what there is, and what training takes of it.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>

#include "launcher/mpi_session.h"
#include "trainer/preflight/report.h"

namespace trainer::preflight {

// Bytes that this host can still give to processes without swapping, or the control group of this process to
// its own, whichever is less; not a number where the system does not say.
double AvailableMemory();

// What this rank takes between the making of this object and Tell(). One at a time.
class MemoryWatch {
 public:
  // Gives freed memory back first, so that what others left behind does not count.
  explicit MemoryWatch(c10::Device device);

  // Describes the ranks' peaks, and warns where little was left. `to_come`: bytes that rank 0 will take
  // besides. Collective.
  void Tell(const launcher::World& world, int64_t to_come, Report& report) const;

 private:
  c10::Device device_;
  double available_ = 0;  // to this host, at the beginning
  double resident_ = 0;   // of this process, at the beginning
};

}  // namespace trainer::preflight
