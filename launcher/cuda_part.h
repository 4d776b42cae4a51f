#pragma once

// What takes CUDA's libraries and NCCL, behind a table of functions. It is a shared library of our own,
// libtrainer_cuda.so (launcher/cuda), loaded only where a GPU may be used: those libraries take 350 MiB of
// memory at their peak and a tenth of a second, which ranks on CPUs do without.

#include <c10/core/Device.h>

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "launcher/communicator.h"
#include "launcher/device.h"
#include "launcher/gpu_claims.h"
#include "launcher/mpi_session.h"
#include "launcher/versions.h"

namespace launcher::internal {

// Devices are numbers as this process sees them. All throw Error where CUDA does not answer.
struct CudaPart {
  uint32_t interface;  // a checksum of this and of what it takes: the part of another build may differ
  // Fills in which GPU this rank would take, or why there is none.
  void (*claim)(const World& world, GpuClaim& claim);
  void (*make_current)(int device);
  GpuFacts (*describe)(int device);
  double (*peak_memory_bytes)(int device);
  void (*forget_peak_memory)(int device);
  DeviceMemory (*memory)();  // of the current device
  std::unique_ptr<Communicator> (*make_communicator)(const World& world, c10::Device device);
  void (*add_versions)(LoadedVersions& versions);
};

// Whether this host has NVIDIA's driver. Without it there is no GPU to be had, and nothing need be loaded.
bool HasCudaDriver();

// Loads it at the first call that can and never again. Not thread-safe; before anything asks LibTorch about
// CUDA, for what it finds then, it keeps: throws Error where it comes too late. kUnimplemented: the program
// was built without CUDA. kFailedPrecondition, saying why: the library, or one that it takes, is not there or
// of another build.
absl::StatusOr<const CudaPart*> LoadCudaPart();

// The file that LoadCudaPart() takes: beside the program, or in ../lib; otherwise the bare name, for the
// loader to find.
std::string CudaPartFile();

// What LoadCudaPart() has loaded. Throws Error where that is nothing.
const CudaPart& LoadedCudaPart();

}  // namespace launcher::internal

// What libtrainer_cuda.so is asked for.
extern "C" const launcher::internal::CudaPart* TrainerCudaPart();
