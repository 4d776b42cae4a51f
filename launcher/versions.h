#pragma once

// Versions of the libraries beneath this one, as they are loaded now: not those that it was built with.

#include <string>

namespace launcher {

struct LoadedVersions {
  std::string mpi;           // "Open MPI v4.1.4"
  std::string nccl;          // "2.27.7"; empty without NVIDIA's driver or libtrainer_cuda.so
  std::string cuda_runtime;  // "13.0"; likewise
  std::string cuda_part;     // the file that would be or is loaded for GPUs
  std::string cuda_driver;   // the newest CUDA that the driver knows; empty where there is no driver
};

// Needs an MpiSession. Throws Error where a library does not say.
LoadedVersions QueryLoadedVersions();

}  // namespace launcher
