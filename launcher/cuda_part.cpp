#include "launcher/cuda_part.h"

#include <ATen/detail/CUDAHooksInterface.h>
#include <dlfcn.h>

#include <string>

#include "launcher/error.h"

namespace launcher::internal {
namespace {

const CudaPart* loaded = nullptr;

}  // namespace

bool HasCudaDriver() {
  // Never closed: the CUDA runtime will want it, too.
  static const bool there = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL) != nullptr;
  return there;
}

const CudaPart* LoadCudaPart() {
#ifdef WITH_CUDA
  if (loaded != nullptr) return loaded;
  constexpr char kName[] = "libtrainer_cuda.so";
  constexpr char kHint[] = "Install the program with all its libraries, or set train.device=cpu";
  void* library = dlopen(kName, RTLD_NOW | RTLD_GLOBAL);
  if (library == nullptr) {
    const char* why = dlerror();  // which names the file
    Fail("dlopen", __FILE__, __LINE__, why != nullptr ? why : kName, kHint);
  }
  const auto part = reinterpret_cast<decltype(&TrainerCudaPart)>(dlsym(library, "TrainerCudaPart"));
  if (part == nullptr)
    Fail("dlsym", __FILE__, __LINE__, std::string(kName) + " has no TrainerCudaPart", kHint);
  const CudaPart* const found = part();
  if (found->interface != CUDA_PART_INTERFACE) {
    Fail("TrainerCudaPart", __FILE__, __LINE__, std::string(kName) + " is of another build than the program",
         kHint);
  }
  LAUNCHER_REQUIRE(at::detail::getCUDAHooks().hasCUDART(),
                   "LibTorch was asked about CUDA before LoadCudaPart(), and keeps its answer");
  loaded = found;
#endif
  return loaded;
}

const CudaPart& LoadedCudaPart() {
  LAUNCHER_REQUIRE(loaded != nullptr, "Take the device from BindDevice()");
  return *loaded;
}

}  // namespace launcher::internal
