#include "launcher/device.h"

#include <ATen/Parallel.h>

#include <cstdlib>
#include <limits>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "launcher/control.h"
#include "launcher/core_share.h"
#include "launcher/gpu_claims.h"
#ifdef WITH_CUDA
#include <c10/cuda/CUDACachingAllocator.h>
#include <cuda_runtime_api.h>

#include "launcher/cuda_check.h"
#endif

namespace launcher {
namespace {

using internal::GpuClaim;
using internal::Verdict;

bool MayShareGpu() {
  const char* value = std::getenv("TRAINER_SHARE_GPU");
  return value != nullptr && std::string_view(value) == "1";
}

#ifdef WITH_CUDA

// Fills in which GPU this rank would take, or why there is none.
void ClaimGpu(const World& world, GpuClaim& claim) {
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
  cudaDeviceProp properties;
  LAUNCHER_CUDA(cudaGetDeviceProperties(&properties, claim.index), "Does nvidia-smi work on this host?");
  for (const char byte : properties.uuid.bytes) {
    absl::StrAppend(&claim.gpu, absl::Hex(static_cast<unsigned char>(byte), absl::kZeroPad2));
  }
}

#else

void ClaimGpu(const World&, GpuClaim& claim) { claim.why_none = "this program was built without CUDA"; }

#endif

}  // namespace

absl::StatusOr<c10::Device> BindDevice(const World& world, const DeviceOptions& options,
                                       std::vector<RankCores>* cores) {
  GpuClaim claim;
  claim.requested = options.requested;
  claim.threads = options.threads;
  claim.host = world.host;
  if (options.requested != "cpu") ClaimGpu(world, claim);

  std::vector<GpuClaim> claims;
  for (const std::string& text : AllGatherStrings(claim.Encode())) claims.push_back(GpuClaim::Decode(text));
  // Every rank judges the same claims: all come to the same end.
  const absl::StatusOr<Verdict> verdict = internal::JudgeClaims(claims, MayShareGpu());
  if (!verdict.ok()) return verdict.status();

  const auto bind_cores = [&](int gpu_node) {
    auto bound = BindCores(world, options.bind, gpu_node);
    const int share = bound.at(static_cast<size_t>(world.rank)).share;
    at::set_num_threads(options.threads > 0 ? options.threads : share);
    if (cores != nullptr) *cores = std::move(bound);
  };
  if (*verdict == Verdict::kCpu) {
    bind_cores(-1);
    return c10::Device(c10::kCPU);
  }
#ifdef WITH_CUDA
  if (*verdict == Verdict::kGpuShared &&
      setenv("NCCL_HOSTID", absl::StrCat(world.host, "-rank-", world.rank).c_str(), /*overwrite=*/0) != 0) {
    internal::Fail("setenv", __FILE__, __LINE__, "cannot set NCCL_HOSTID", "Is memory exhausted?");
  }
  LAUNCHER_CUDA(cudaSetDevice(claim.index), "Is the GPU in exclusive mode and taken by another process?");
#endif
  const c10::Device device(c10::kCUDA, static_cast<c10::DeviceIndex>(claim.index));
  bind_cores(NumaNodeOfPci(DescribeGpu(device).pci_bus_id));
  return device;
}

GpuFacts DescribeGpu([[maybe_unused]] c10::Device device) {
  GpuFacts facts;
#ifdef WITH_CUDA
  if (!device.is_cuda()) return facts;
  constexpr char kHint[] = "Does nvidia-smi work on this host?";
  cudaDeviceProp properties;
  LAUNCHER_CUDA(cudaGetDeviceProperties(&properties, device.index()), kHint);
  facts.name = properties.name;
  char bus_id[32] = "";
  LAUNCHER_CUDA(cudaDeviceGetPCIBusId(bus_id, sizeof bus_id, device.index()), kHint);
  facts.pci_bus_id = bus_id;
#endif
  return facts;
}

double PeakDeviceMemoryBytes([[maybe_unused]] c10::Device device) {
#ifdef WITH_CUDA
  if (device.is_cuda()) {
    const auto stats = c10::cuda::CUDACachingAllocator::getDeviceStats(device.index());
    return static_cast<double>(stats.allocated_bytes[0].peak);  // [0]: of pools of all sizes
  }
#endif
  return std::numeric_limits<double>::quiet_NaN();
}

void ForgetPeakDeviceMemory([[maybe_unused]] c10::Device device) {
#ifdef WITH_CUDA
  if (!device.is_cuda()) return;
  c10::cuda::CUDACachingAllocator::emptyCache();
  c10::cuda::CUDACachingAllocator::resetPeakStats(device.index());
#endif
}

DeviceMemory QueryDeviceMemory([[maybe_unused]] c10::Device device) {
  constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();
#ifdef WITH_CUDA
  if (device.is_cuda()) {
    size_t free = 0;
    size_t total = 0;
    LAUNCHER_CUDA(cudaMemGetInfo(&free, &total), "Does nvidia-smi work on this host?");
    return {static_cast<double>(free), static_cast<double>(total)};
  }
#endif
  return {kUnknown, kUnknown};
}

int CoreShare(const World& world) {
  const std::vector<int> own = internal::AffinityCpus();
  // Which ranks share a host is told by its name.
  std::vector<std::vector<int>> on_this_host;
  const std::string host = absl::StrCat(world.host, "\n");
  for (const std::string& text : AllGatherStrings(absl::StrCat(host, internal::EncodeCpus(own)))) {
    if (text.compare(0, host.size(), host) == 0) {
      on_this_host.push_back(internal::DecodeCpus(text.substr(host.size())));
    }
  }
  return internal::ShareOfCpus(own, on_this_host, CgroupCpuLimit());
}

double CgroupCpuLimit() { return internal::CgroupCpuLimitUnder("/sys/fs/cgroup", "/proc/self/cgroup"); }

}  // namespace launcher
