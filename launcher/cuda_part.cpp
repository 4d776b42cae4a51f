#include "launcher/cuda_part.h"

#include <ATen/detail/CUDAHooksInterface.h>
#include <dlfcn.h>

#include <filesystem>
#include <string>
#include <system_error>
#include <typeinfo>

#include "absl/strings/str_cat.h"
#include "launcher/error.h"

namespace launcher::internal {
namespace {

const CudaPart* loaded = nullptr;

constexpr char kName[] = "libtrainer_cuda.so";

// The part derives from Communicator, so every program that can load it must hold that class, whether it
// makes one or not.
[[gnu::used]] const std::type_info* const kept = &typeid(Communicator);

}  // namespace

std::string CudaPartFile() {
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::path folder = fs::read_symlink("/proc/self/exe", error).parent_path();
  for (const auto& file : {folder / kName, folder.parent_path() / "lib" / kName}) {
    if (fs::exists(file, error)) return file.string();
  }
  return kName;
}

bool HasCudaDriver() {
  // Never closed: the CUDA runtime will want it, too.
  static const bool there = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL) != nullptr;
  return there;
}

absl::StatusOr<const CudaPart*> LoadCudaPart() {
#ifdef WITH_CUDA
  if (loaded != nullptr) return loaded;
  const std::string file = CudaPartFile();
  void* library = dlopen(file.c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (library == nullptr) {
    const char* why = dlerror();
    return absl::FailedPreconditionError(
        absl::StrCat("the part for GPUs cannot be loaded: ", why != nullptr ? why : file.c_str()));
  }
  const auto part = reinterpret_cast<decltype(&TrainerCudaPart)>(dlsym(library, "TrainerCudaPart"));
  if (part == nullptr || part()->interface != CUDA_PART_INTERFACE) {
    return absl::FailedPreconditionError(absl::StrCat(file, " is of another build than the program"));
  }
  LAUNCHER_REQUIRE(at::detail::getCUDAHooks().hasCUDART(),
                   "LibTorch was asked about CUDA before LoadCudaPart(), and keeps its answer");
  loaded = part();
  return loaded;
#else
  return absl::UnimplementedError("this program was built without CUDA");
#endif
}

const CudaPart& LoadedCudaPart() {
  LAUNCHER_REQUIRE(loaded != nullptr, "Take the device from BindDevice()");
  return *loaded;
}

}  // namespace launcher::internal
