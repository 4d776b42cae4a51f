#pragma once

// Which device a rank computes on, and with how many threads.

#include <c10/core/Device.h>

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "launcher/cores.h"
#include "launcher/mpi_session.h"

namespace launcher {

struct DeviceOptions {
  std::string requested =
      "auto";        // auto | cpu | cuda. auto: cuda where built with CUDA and any GPU is visible, else cpu
  int threads = 0;   // of LibTorch's intra-op pool; 0: this rank's share of the host's cores (CoreShare)
  bool bind = true;  // to cores near the GPU, or a NUMA node's, where nothing else has (BindCores)
};

// Binds the calling process: chooses its device (GPU number `local_rank`, modulo the GPUs it can see: SLURM
// may show each task only its own), makes it CUDA's current device, binds it to cores, sets LibTorch's
// intra-op threads. `cores`, if given: what all ranks have then.
// Collective: on every rank the same kind of device or an error; rank-local failures are agreed on (AgreeOn).
// To be called once, by the main thread, before anything else uses CUDA.
//
// kInvalidArgument where `requested` is none of the three words, `threads` is negative, cuda is asked for and
// the program was built without it or no GPU is there, two ranks of a host would share a GPU (fewer GPUs than
// ranks), or some hosts have GPUs and others none under auto. The message names counts, host and remedies.
//
// TRAINER_SHARE_GPU=1 in the environment lets ranks share a GPU, for tests on a machine with one: NCCL
// refuses two ranks on one GPU unless they seem to be on different hosts, so each rank is then given a
// NCCL_HOSTID of its own. It is slow: ranks then talk through sockets.
absl::StatusOr<c10::Device> BindDevice(const World& world, const DeviceOptions& options,
                                       std::vector<RankCores>* cores = nullptr);

struct GpuFacts {
  std::string name;        // "NVIDIA H100 80GB HBM3"
  std::string pci_bus_id;  // "0000:65:00.0", by which NVML knows it
};

// Of a CUDA device; empty strings for the CPU.
GpuFacts DescribeGpu(c10::Device device);

// The most bytes that tensors have ever held on a CUDA device; not a number for the CPU.
double PeakDeviceMemoryBytes(c10::Device device);

// Gives back to the driver what is allocated and not used on a CUDA device; the peak starts anew from what
// is. Nothing for the CPU.
void ForgetPeakDeviceMemory(c10::Device device);

struct DeviceMemory {
  double free_bytes, total_bytes;
};

// Of a CUDA device, as the driver counts it over all processes; not numbers for the CPU.
DeviceMemory QueryDeviceMemory(c10::Device device);

// The cores that are this rank's: each CPU in its affinity mask counts by the share it has of it (1 over the
// number of this host's ranks that may run there too), limited by the container's CPU quota over the local
// ranks; at least 1. So it is right both with and without mpirun's --bind-to. Collective.
int CoreShare(const World& world);

// CPUs' worth of time that the control group of this process may use ("200000 100000" in cgroup v2's cpu.max
// is 2); 0 where there is no limit.
double CgroupCpuLimit();

}  // namespace launcher
