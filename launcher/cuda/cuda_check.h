#pragma once

// Checks of CUDA and NCCL calls, see error.h.

#include <cuda_runtime_api.h>
#include <nccl.h>

#include <string>

#include "launcher/error.h"

namespace launcher::internal {

inline void CheckCuda(cudaError_t code, const char* expression, const char* file, int line,
                      const char* hint) {
  if (code == cudaSuccess) return;
  Fail(expression, file, line, std::string(cudaGetErrorName(code)) + ": " + cudaGetErrorString(code), hint);
}

inline void CheckNccl(ncclResult_t code, const char* expression, const char* file, int line,
                      const char* hint) {
  if (code == ncclSuccess) return;
  Fail(expression, file, line, std::string(ncclGetErrorString(code)) + " (" + ncclGetLastError(nullptr) + ")",
       hint);
}

}  // namespace launcher::internal

#define LAUNCHER_CUDA(expression, hint) \
  ::launcher::internal::CheckCuda((expression), #expression, __FILE__, __LINE__, (hint))
#define LAUNCHER_NCCL(expression, hint) \
  ::launcher::internal::CheckNccl((expression), #expression, __FILE__, __LINE__, (hint))
