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
#include "launcher/cuda_part.h"
#include "launcher/error.h"
#include "launcher/gpu_claims.h"

namespace launcher {
namespace {

using internal::GpuClaim;
using internal::Verdict;

bool MayShareGpu() {
  const char* value = std::getenv("TRAINER_SHARE_GPU");
  return value != nullptr && std::string_view(value) == "1";
}

// Fills in which GPU this rank would take, or why there is none.
void ClaimGpu(const World& world, GpuClaim& claim) {
  if (claim.requested != "cuda" && !internal::HasCudaDriver()) {
    claim.why_none = "there is no NVIDIA driver (libcuda.so.1)";
    return;
  }
  const auto cuda = internal::LoadCudaPart();
  if (cuda.ok()) {
    (*cuda)->claim(world, claim);
  } else {
    claim.why_none = std::string(cuda.status().message());
    // Where there seems to be a GPU, it is no way out to compute on the CPU and say nothing.
    claim.unusable = absl::IsFailedPrecondition(cuda.status()) && internal::HasCudaDriver();
  }
}

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
  if (*verdict == Verdict::kGpuShared &&
      setenv("NCCL_HOSTID", absl::StrCat(world.host, "-rank-", world.rank).c_str(), /*overwrite=*/0) != 0) {
    internal::Fail("setenv", __FILE__, __LINE__, "cannot set NCCL_HOSTID", "Is memory exhausted?");
  }
  internal::LoadedCudaPart().make_current(claim.index);
  const c10::Device device(c10::kCUDA, static_cast<c10::DeviceIndex>(claim.index));
  bind_cores(NumaNodeOfPci(DescribeGpu(device).pci_bus_id));
  return device;
}

GpuFacts DescribeGpu(c10::Device device) {
  return device.is_cuda() ? internal::LoadedCudaPart().describe(device.index()) : GpuFacts();
}

double PeakDeviceMemoryBytes(c10::Device device) {
  if (!device.is_cuda()) return std::numeric_limits<double>::quiet_NaN();
  return internal::LoadedCudaPart().peak_memory_bytes(device.index());
}

void ForgetPeakDeviceMemory(c10::Device device) {
  if (device.is_cuda()) internal::LoadedCudaPart().forget_peak_memory(device.index());
}

DeviceMemory QueryDeviceMemory(c10::Device device) {
  constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();
  if (!device.is_cuda()) return {kUnknown, kUnknown};
  return internal::LoadedCudaPart().memory();
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
