#include "trainer/preflight/speed.h"

#include <algorithm>
#include <array>
#include <functional>
#include <iterator>
#include <limits>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "launcher/control.h"
#include "trainer/engine/stopwatch.h"
#include "trainer/kernels/context.h"
#include "trainer/kernels/linear.h"
#include "trainer/preflight/ranks.h"
#include "trainer/telemetry/run_figures.h"

namespace trainer::preflight {
namespace {

constexpr double kTogetherSeconds = 0.4;  // a measurement
constexpr double kAloneSeconds = 3;       // all measurements of all ranks of a host, which take turns
constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

struct Measure {
  const char* key;   // in the JSON
  const char* what;  // "rank 3 on node7 <what> 41 GFLOP/s"
  const char* unit;
  double scale;  // from operations or bytes a second to the unit
};
enum : size_t { kFp32, kTf32, kBf16, kMemory };
constexpr size_t kMeasures = 4;
constexpr std::array<Measure, kMeasures> kTable = {{
    {"fp32_gflops", "multiplies fp32 at", "GFLOP/s", 1e-9},
    {"tf32_gflops", "multiplies tf32 at", "GFLOP/s", 1e-9},
    {"bf16_gflops", "multiplies bf16 at", "GFLOP/s", 1e-9},
    {"memory_gb_per_second", "copies memory at", "GB/s", 1e-9},
}};
using Speeds = std::array<double, kMeasures>;  // a second; not a number where not measured

void Synchronize(torch::Device device) {
  if (device.is_cuda()) c10::impl::VirtualGuardImpl(device.type()).synchronizeDevice(device.index());
}

// What `call` does a second, if a call does `work`. The first call is not counted.
double Throughput(torch::Device device, double work, double seconds, const std::function<void()>& call) {
  const int calls_at_once = device.is_cuda() ? 4 : 1;  // waiting for the device costs time
  call();
  Synchronize(device);
  const engine::Stopwatch clock;
  double done = 0;
  do {
    for (int i = 0; i < calls_at_once; ++i) call();
    Synchronize(device);
    done += work * calls_at_once;
  } while (clock.Seconds() < seconds);
  return done / clock.Seconds();
}

// Lets matrix products of float32 use TF32, or not, while it lives.
class Tf32 {
 public:
  explicit Tf32(bool on) : before_(at::globalContext().allowTF32CuBLAS()) {
    at::globalContext().setAllowTF32CuBLAS(on);
  }
  ~Tf32() { at::globalContext().setAllowTF32CuBLAS(before_); }
  Tf32(const Tf32&) = delete;
  Tf32& operator=(const Tf32&) = delete;

 private:
  bool before_;
};

// `seconds` for each measurement.
Speeds Measured(const launcher::World& world, torch::Device device, double seconds) {
  const torch::NoGradGuard no_grad;
  const int64_t size = device.is_cuda() ? 4096 : 1024;
  const auto floats = torch::TensorOptions().dtype(torch::kFloat32).device(device);
  const auto multiply = [&](torch::Dtype dtype) {
    const auto a = torch::rand({size, size}, floats).to(dtype);
    const auto b = torch::rand({size, size}, floats).to(dtype);
    const auto n = static_cast<double>(size);
    return Throughput(device, 2 * n * n * n, seconds, [&] { kernels::Linear(a, b, {}); });
  };
  Speeds speeds;
  speeds.fill(kUnknown);
  if (device.is_cuda()) {
    {
      const Tf32 off(false);
      speeds[kFp32] = multiply(torch::kFloat32);
    }
    const Tf32 on(true);
    speeds[kTf32] = multiply(torch::kFloat32);
  } else {
    speeds[kFp32] = multiply(torch::kFloat32);
  }
  if (device.is_cuda() || kernels::HasFastBFloat16()) speeds[kBf16] = multiply(torch::kBFloat16);

  // Larger than caches, but not so large that all ranks of a host together run out of memory.
  const int64_t elements = (device.is_cuda() ? 256 : world.local_size > 16 ? 16 : 64) << 18;
  const auto from = torch::ones({elements}, floats);
  auto to = torch::zeros({elements}, floats);
  // Read once, written once.
  speeds[kMemory] = Throughput(device, 8 * static_cast<double>(elements), seconds, [&] { to.copy_(from); });
  return speeds;
}

void Add(const Speeds& speeds, const std::string& mode, nlohmann::json& facts) {
  for (size_t i = 0; i < kMeasures; ++i) {
    facts[absl::StrCat(mode, " ", kTable[i].key)] = speeds[i] * kTable[i].scale;
  }
}

// A rank's worst showing.
struct Worst {
  double ratio = 1;
  std::string text;
};

class Judge {
 public:
  Judge(const std::vector<nlohmann::json>& ranks, Report& report)
      : ranks_(ranks), report_(report), hosts_(TextOf(ranks, "host")) {}

  void Run() {
    auto& figures = report_.figures("speed");
    for (const char* mode : {"alone", "together"}) {
      for (const auto& measure : kTable) {
        const auto speeds = NumberOf(ranks_, absl::StrCat(mode, " ", measure.key));
        figures[mode][measure.key] = speeds;
        Look(mode, measure, speeds);
      }
    }
    WarnOfSlowOnes();
  }

 private:
  void Look(const std::string& mode, const Measure& measure, const std::vector<double>& speeds) {
    std::vector<double> known;
    std::copy_if(speeds.begin(), speeds.end(), std::back_inserter(known),
                 [](double speed) { return speed >= 0; });
    if (known.empty()) return;
    const auto spread = telemetry::SpreadOf(known);
    const auto how = mode == "alone" ? "alone on its host" : "with all ranks at it";
    if (ranks_.size() == 1) {
      if (mode == "alone") {
        report_.Ok(absl::StrFormat("rank 0 %s %.3g %s", measure.what, speeds[0], measure.unit));
      }
      return;
    }
    report_.Ok(absl::StrFormat("a rank %s %.3g %s %s (slowest %.3g, fastest %.3g)", measure.what,
                               spread.median, measure.unit, how, spread.min, spread.max));
    for (const auto& slow : FindSlowRanks(speeds)) {
      auto& worst = worst_[slow.rank];
      const double ratio = slow.speed / slow.median;
      if (ratio >= worst.ratio) continue;
      worst = {ratio, absl::StrFormat("%s %.3g %s (%s), the median is %.3g", measure.what, slow.speed,
                                      measure.unit, how, slow.median)};
    }
  }

  // Where all ranks of a host are slow it is the host that is: one line.
  void WarnOfSlowOnes() {
    const auto groups = GroupByValue(hosts_);
    for (const auto& group : groups) {
      std::vector<int64_t> slow;
      for (const auto rank : group.ranks) {
        if (worst_.contains(rank)) slow.push_back(rank);
      }
      const char* advice =
          "look there for other processes and for heat or power limits (top, nvidia-smi -q -d PERFORMANCE), "
          "or "
          "leave it out";
      if (groups.size() > 1 && slow.size() > 1 && slow.size() == group.ranks.size()) {
        const auto& worst = *std::min_element(slow.begin(), slow.end(), [&](int64_t a, int64_t b) {
          return worst_[a].ratio < worst_[b].ratio;
        });
        report_.Warn(absl::StrCat("all ranks of host ", group.value,
                                  " are slow: ", NameRanks({worst}, hosts_), " ", worst_[worst].text),
                     advice);
        continue;
      }
      for (const auto rank : slow)
        report_.Warn(absl::StrCat(NameRanks({rank}, hosts_), " ", worst_[rank].text), advice);
    }
    auto& list = report_.figures("speed")["slow_ranks"];
    list = nlohmann::ordered_json::array();
    for (const auto& [rank, worst] : worst_) list.push_back(rank);
  }

  const std::vector<nlohmann::json>& ranks_;
  Report& report_;
  const std::vector<std::string> hosts_;
  std::map<int64_t, Worst> worst_;  // slow ranks
};

}  // namespace

void MeasureSpeed(const launcher::World& world, torch::Device device, Report& report) {
  report.Begin("speed");
  int turns = 1;  // ranks of the fullest host
  for (const auto& size : launcher::AllGatherStrings(absl::StrCat(world.local_size))) {
    turns = std::max(turns, std::stoi(size));
  }
  nlohmann::json mine = {{"host", world.host}};
  const double alone_seconds =
      std::min(kTogetherSeconds, kAloneSeconds / turns / static_cast<double>(kMeasures));
  for (int turn = 0; turn < turns; ++turn) {
    launcher::Barrier();
    if (turn == world.local_rank) Add(Measured(world, device, alone_seconds), "alone", mine);
  }
  launcher::Barrier();
  Add(Measured(world, device, kTogetherSeconds), "together", mine);
  const auto ranks = GatherFacts(mine);
  if (world.rank == 0) Judge(ranks, report).Run();
}

}  // namespace trainer::preflight
