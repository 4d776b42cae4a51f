#include "launcher/cuda_part.h"

#include <c10/cuda/CUDACachingAllocator.h>
#include <cuda_runtime_api.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "launcher/cuda/cuda_check.h"
#include "launcher/cuda/nccl_communicator.h"

namespace launcher::internal {
namespace {

constexpr char kHint[] = "Does nvidia-smi work on this host?";

cudaDeviceProp PropertiesOf(int device) {
  cudaDeviceProp properties;
  LAUNCHER_CUDA(cudaGetDeviceProperties(&properties, device), kHint);
  return properties;
}

void Claim(const World& world, GpuClaim& claim) {
  const cudaError_t code = cudaGetDeviceCount(&claim.visible);
  if (code != cudaSuccess) {
    claim.visible = 0;
    claim.why_none = cudaGetErrorString(code);
    cudaGetLastError();  // forget it: having no GPU is no failure of a later call
    return;
  }
  if (claim.visible == 0) {
    claim.why_none = "the driver lists no GPU";
    return;
  }
  claim.index = world.local_rank % claim.visible;
  for (const char byte : PropertiesOf(claim.index).uuid.bytes) {
    absl::StrAppend(&claim.gpu, absl::Hex(static_cast<unsigned char>(byte), absl::kZeroPad2));
  }
}

void MakeCurrent(int device) {
  LAUNCHER_CUDA(cudaSetDevice(device), "Is the GPU in exclusive mode and taken by another process?");
}

GpuFacts Describe(int device) {
  GpuFacts facts;
  facts.name = PropertiesOf(device).name;
  char bus_id[32] = "";
  LAUNCHER_CUDA(cudaDeviceGetPCIBusId(bus_id, sizeof bus_id, device), kHint);
  facts.pci_bus_id = bus_id;
  return facts;
}

double PeakMemoryBytes(int device) {
  const auto stats = c10::cuda::CUDACachingAllocator::getDeviceStats(static_cast<c10::DeviceIndex>(device));
  return static_cast<double>(stats.allocated_bytes[0].peak);  // [0]: of pools of all sizes
}

void ForgetPeakMemory(int device) {
  c10::cuda::CUDACachingAllocator::emptyCache();
  c10::cuda::CUDACachingAllocator::resetPeakStats(static_cast<c10::DeviceIndex>(device));
}

DeviceMemory Memory() {
  size_t free = 0;
  size_t total = 0;
  LAUNCHER_CUDA(cudaMemGetInfo(&free, &total), kHint);
  return {static_cast<double>(free), static_cast<double>(total)};
}

std::unique_ptr<Communicator> MakeNccl(const World& world, c10::Device device) {
  return std::make_unique<NcclCommunicator>(world, device);
}

std::string CudaVersion(int number) {
  return number == 0 ? "" : absl::StrCat(number / 1000, ".", number % 1000 / 10);
}

void AddVersions(LoadedVersions& versions) {
  int number = 0;
  LAUNCHER_NCCL(ncclGetVersion(&number), "");
  versions.nccl = absl::StrCat(number / 10000, ".", number % 10000 / 100, ".", number % 100);
  LAUNCHER_CUDA(cudaRuntimeGetVersion(&number), "");
  versions.cuda_runtime = CudaVersion(number);
  // Without a driver this is 0 and no error.
  LAUNCHER_CUDA(cudaDriverGetVersion(&number), kHint);
  versions.cuda_driver = CudaVersion(number);
}

}  // namespace
}  // namespace launcher::internal

const launcher::internal::CudaPart* TrainerCudaPart() {
  using namespace launcher::internal;  // NOLINT(google-build-using-namespace)
  static constexpr CudaPart kPart = {CUDA_PART_INTERFACE, Claim,  MakeCurrent, Describe,   PeakMemoryBytes,
                                     ForgetPeakMemory,    Memory, MakeNccl,    AddVersions};
  return &kPart;
}
