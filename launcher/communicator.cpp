#include "launcher/communicator.h"

#include <cstdlib>
#include <string_view>

#include "launcher/error.h"
#include "launcher/mpi_communicator.h"
#ifdef WITH_CUDA
#include "launcher/nccl_communicator.h"
#endif

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

bool ForceNccl() {
  const char* value = std::getenv("TRAINER_FORCE_NCCL");
  return value != nullptr && std::string_view(value) == "1";
}

}  // namespace

std::unique_ptr<Communicator> MakeCommunicator(const World& world, torch::Device device) {
  LAUNCHER_REQUIRE(device.is_cpu() || device.is_cuda(), "Ranks compute on the CPU or on CUDA devices");
  if (world.size == 1 && !(device.is_cuda() && ForceNccl())) return std::make_unique<SingleCommunicator>();
  if (device.is_cpu()) return std::make_unique<internal::MpiCommunicator>(world);
#ifdef WITH_CUDA
  return std::make_unique<internal::NcclCommunicator>(world, device);
#else
  internal::Fail("MakeCommunicator", __FILE__, __LINE__, "the program was built without CUDA",
                 "Take the device from BindDevice()");
#endif
}

}  // namespace launcher
