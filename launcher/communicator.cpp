#include "launcher/communicator.h"

#include <torch/torch.h>

#include <cstdlib>
#include <string_view>

#include "launcher/cuda_part.h"
#include "launcher/error.h"
#include "launcher/mpi_communicator.h"
#include "launcher/shared_communicator.h"

namespace launcher {
namespace {

// A world of one: its own sum is the sum.
class SingleCommunicator final : public Communicator {
 public:
  void StartAllReduce(torch::Tensor) override {}
  void WaitAll() override {}
  void Broadcast(torch::Tensor, int) override {}
  absl::Status Health() override { return absl::OkStatus(); }
  double TakeReduceSeconds() override { return 0; }
  int64_t TakeReducedBytes() override { return 0; }
  const char* name() const override { return "single"; }
};

bool IsSet(const char* variable, std::string_view to) {
  const char* value = std::getenv(variable);
  return value != nullptr && value == to;
}

}  // namespace

torch::Tensor Communicator::MakeBuffer(int64_t count, torch::Device device) {
  return torch::zeros({count}, torch::TensorOptions().device(device));
}

void Communicator::RequireSummable(const torch::Tensor& slice, torch::Device device) {
  LAUNCHER_REQUIRE(
      slice.device() == device && slice.is_contiguous() && slice.scalar_type() == torch::kFloat32,
      "StartAllReduce takes contiguous float32 tensors on this communicator's device");
}

std::unique_ptr<Communicator> MakeCommunicator(const World& world, torch::Device device) {
  LAUNCHER_REQUIRE(device.is_cpu() || device.is_cuda(), "Ranks compute on the CPU or on CUDA devices");
  if (world.size == 1 && !(device.is_cuda() && IsSet("TRAINER_FORCE_NCCL", "1")))
    return std::make_unique<SingleCommunicator>();
  if (device.is_cpu()) {
    const bool share = !IsSet("TRAINER_SHARED_MEMORY", "0");
    if (auto shared = internal::SharedCommunicator::Make(world, share)) return shared;
    return std::make_unique<internal::MpiCommunicator>(world);
  }
  return internal::LoadedCudaPart().make_communicator(world, device);
}

}  // namespace launcher
