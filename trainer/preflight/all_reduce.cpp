#include "trainer/preflight/all_reduce.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "launcher/control.h"
#include "trainer/engine/stopwatch.h"
#include "trainer/preflight/ranks.h"

namespace trainer::preflight {
namespace {

constexpr double kSecondsEach = 0.25;
constexpr double kTooLongSeconds = 2;  // for one sum: then no larger one is tried

// The same on all ranks.
double LongestOf(double seconds) {
  double longest = 0;
  for (const auto& text : launcher::AllGatherStrings(absl::StrCat(seconds))) {
    double theirs = 0;
    if (absl::SimpleAtod(text, &theirs)) longest = std::max(longest, theirs);
  }
  return longest;
}

// "64 KiB", "4 MiB".
std::string SizeText(int64_t bytes) {
  return bytes < 1 << 20 ? absl::StrCat(bytes >> 10, " KiB") : absl::StrCat(bytes >> 20, " MiB");
}

class Meter {
 public:
  Meter(const launcher::World& world, torch::Device device, launcher::Communicator& communicator)
      : world_(world), device_(device), communicator_(communicator) {}

  // Whether the sum of 1 + rank is what it must be, everywhere.
  bool IsRight(int64_t bytes) {
    auto slice = torch::full({bytes / 4}, world_.rank + 1,
                             torch::TensorOptions().dtype(torch::kFloat32).device(device_));
    Sum(slice);
    const double expected = 0.5 * world_.size * (world_.size + 1);
    return launcher::AllReduceSum({slice.eq(expected).all().item<bool>() ? 0.0 : 1.0})[0] == 0;
  }

  double Seconds(int64_t bytes, int64_t times) {
    auto slice = torch::zeros({bytes / 4}, torch::TensorOptions().dtype(torch::kFloat32).device(device_));
    launcher::Barrier();
    const engine::Stopwatch clock;
    for (int64_t i = 0; i < times; ++i) Sum(slice);
    return LongestOf(clock.Seconds() / static_cast<double>(times));
  }

 private:
  void Sum(const torch::Tensor& slice) {
    communicator_.StartAllReduce(slice);
    communicator_.WaitAll();
    // The device's own wait is queued; this is the host's.
    if (device_.is_cuda()) c10::impl::VirtualGuardImpl(device_.type()).synchronizeDevice(device_.index());
  }

  const launcher::World& world_;
  torch::Device device_;
  launcher::Communicator& communicator_;
};

}  // namespace

void MeasureAllReduce(const launcher::World& world, torch::Device device,
                      launcher::Communicator& communicator, Report& report) {
  report.Begin("all-reduce");
  auto& figures = report.figures("all_reduce");
  figures["communicator"] = communicator.name();
  figures["sizes"] = nlohmann::ordered_json::array();
  if (world.size == 1) {
    report.Ok("one rank has nothing to sum up");
    return;
  }
  Meter meter(world, device, communicator);
  double seconds = 0;
  for (const int64_t kib : {4, 64, 1024, 4096, 16384, 65536}) {
    const int64_t bytes = kib << 10;
    if (seconds > kTooLongSeconds) {
      report.Warn(
          absl::StrFormat("%s and more was not tried: the size before took %.1f s", SizeText(bytes), seconds),
          "look at the network between the hosts: docs/slurm.md, many nodes");
      break;
    }
    if (!meter.IsRight(bytes)) {
      report.Error(absl::StrCat("an all-reduce of ", SizeText(bytes), " over ", world.size,
                                " ranks gave a wrong sum (", communicator.name(), ")"),
                   "check the memory and the network of the hosts; leave out one after the other to find it");
      break;
    }
    seconds = meter.Seconds(bytes, 1);
    const auto times = static_cast<int64_t>(kSecondsEach / std::max(seconds, 1e-4));
    if (times > 1) seconds = meter.Seconds(bytes, times);
    const double bus = 2.0 * (world.size - 1) / world.size * static_cast<double>(bytes) / seconds;
    figures["sizes"].push_back({{"bytes", bytes}, {"seconds", seconds}, {"bus_bytes_per_second", bus}});
    report.Ok(absl::StrFormat("%-7s %9.3f ms  %s/s (bus)", SizeText(bytes), 1e3 * seconds, FormatBytes(bus)));
  }
}

}  // namespace trainer::preflight
