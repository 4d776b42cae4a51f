#include "launcher/versions.h"

#include <mpi.h>

#include "absl/strings/str_cat.h"
#include "launcher/error.h"
#ifdef WITH_CUDA
#include "launcher/cuda_check.h"
#endif

namespace launcher {
namespace {

// "Open MPI v4.1.4" of "Open MPI v4.1.4, package: ..., 2022", the first line of what MPICH says.
std::string MpiVersion() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING];
  int length = 0;
  LAUNCHER_MPI(MPI_Get_library_version(text, &length), "");
  const std::string version(text, static_cast<size_t>(length));
  return version.substr(0, version.find_first_of(",\n"));
}

#ifdef WITH_CUDA
std::string CudaVersion(int number) {
  return number == 0 ? "" : absl::StrCat(number / 1000, ".", number % 1000 / 10);
}
#endif

}  // namespace

LoadedVersions QueryLoadedVersions() {
  LoadedVersions versions;
  versions.mpi = MpiVersion();
#ifdef WITH_CUDA
  int number = 0;
  LAUNCHER_NCCL(ncclGetVersion(&number), "");
  versions.nccl = absl::StrCat(number / 10000, ".", number % 10000 / 100, ".", number % 100);
  LAUNCHER_CUDA(cudaRuntimeGetVersion(&number), "");
  versions.cuda_runtime = CudaVersion(number);
  // Without a driver this is 0 and no error.
  LAUNCHER_CUDA(cudaDriverGetVersion(&number), "Does nvidia-smi work on this host?");
  versions.cuda_driver = CudaVersion(number);
#endif
  return versions;
}

}  // namespace launcher
