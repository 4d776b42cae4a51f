// Load, heat, clock and power of a GPU, as NVIDIA's management library (NVML) tells them.
#pragma once

#include <memory>
#include <string>

#include "trainer/telemetry/run_figures.h"

namespace trainer::telemetry {

// NVML comes with the driver and is loaded when the program runs; where it or the GPU is not there, or it
// does not know a figure (some need rights, or a newer GPU), that figure is left as it is. One thread. A
// reading takes microseconds to a few milliseconds.
class GpuMonitor {
 public:
  // `pci_bus_id` as CUDA gives it, "0000:65:00.0"; empty: no GPU.
  explicit GpuMonitor(const std::string& pci_bus_id);
  ~GpuMonitor();

  // Fills in the gpu_... figures that are known.
  void Read(RankFigures& figures) const;

 private:
  struct Nvml;
  std::unique_ptr<Nvml> nvml_;  // null: nothing is known
};

}  // namespace trainer::telemetry
