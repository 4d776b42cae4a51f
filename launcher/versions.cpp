#include "launcher/versions.h"

#include <mpi.h>

#include "launcher/cuda_part.h"
#include "launcher/error.h"

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

}  // namespace

LoadedVersions QueryLoadedVersions() {
  LoadedVersions versions;
  versions.mpi = MpiVersion();
  versions.cuda_part = internal::CudaPartFile();
  if (internal::HasCudaDriver()) {
    // Where it cannot be loaded, that is for BindDevice() to say, if a GPU is wanted.
    if (const auto cuda = internal::LoadCudaPart(); cuda.ok()) (*cuda)->add_versions(versions);
  }
  return versions;
}

}  // namespace launcher
