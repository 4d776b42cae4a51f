#include "trainer/telemetry/gpu_monitor.h"

#include <dlfcn.h>

namespace trainer::telemetry {
namespace {

// The few parts of NVML's stable C interface that are used; values from its documentation (nvml.h of CUDA 12
// and 13).
using Device = void*;
struct Utilization {
  unsigned gpu, memory;  // per cent of the last sampling period
};
constexpr int kSuccess = 0;
constexpr unsigned kSensorOfGpu = 0;
constexpr unsigned kClockOfSms = 1;
// Reasons that take speed away: power cap, hardware slowdown, software and hardware thermal slowdown, power
// brake.
constexpr unsigned long long kThrottling = 0x4 | 0x8 | 0x20 | 0x40 | 0x80;

}  // namespace

struct GpuMonitor::Nvml {
  void* library = nullptr;
  Device device = nullptr;
  int (*init)() = nullptr;
  int (*shutdown)() = nullptr;
  int (*by_bus_id)(const char*, Device*) = nullptr;
  int (*utilization)(Device, Utilization*) = nullptr;
  int (*temperature)(Device, unsigned, unsigned*) = nullptr;
  int (*clock)(Device, unsigned, unsigned*) = nullptr;
  int (*power)(Device, unsigned*) = nullptr;
  int (*reasons)(Device, unsigned long long*) = nullptr;
  bool started = false;

  template <typename Function>
  void Load(const char* name, Function& function) {
    function = reinterpret_cast<Function>(dlsym(library, name));
  }

  ~Nvml() {
    if (started && shutdown != nullptr) shutdown();
    if (library != nullptr) dlclose(library);
  }
};

GpuMonitor::GpuMonitor(const std::string& pci_bus_id) {
  if (pci_bus_id.empty()) return;
  auto nvml = std::make_unique<Nvml>();
  nvml->library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
  if (nvml->library == nullptr) return;
  nvml->Load("nvmlInit_v2", nvml->init);
  nvml->Load("nvmlShutdown", nvml->shutdown);
  nvml->Load("nvmlDeviceGetHandleByPciBusId_v2", nvml->by_bus_id);
  nvml->Load("nvmlDeviceGetUtilizationRates", nvml->utilization);
  nvml->Load("nvmlDeviceGetTemperature", nvml->temperature);
  nvml->Load("nvmlDeviceGetClockInfo", nvml->clock);
  nvml->Load("nvmlDeviceGetPowerUsage", nvml->power);
  nvml->Load("nvmlDeviceGetCurrentClocksThrottleReasons", nvml->reasons);
  if (nvml->init == nullptr || nvml->by_bus_id == nullptr || nvml->init() != kSuccess) return;
  nvml->started = true;
  if (nvml->by_bus_id(pci_bus_id.c_str(), &nvml->device) != kSuccess) return;
  nvml_ = std::move(nvml);
}

GpuMonitor::~GpuMonitor() = default;

void GpuMonitor::Read(RankFigures& figures) const {
  if (nvml_ == nullptr) return;
  Utilization utilization{};
  if (nvml_->utilization != nullptr && nvml_->utilization(nvml_->device, &utilization) == kSuccess) {
    figures.gpu_utilization = utilization.gpu / 100.0;
  }
  unsigned value = 0;
  if (nvml_->temperature != nullptr && nvml_->temperature(nvml_->device, kSensorOfGpu, &value) == kSuccess) {
    figures.gpu_temperature_celsius = value;
  }
  if (nvml_->clock != nullptr && nvml_->clock(nvml_->device, kClockOfSms, &value) == kSuccess) {
    figures.gpu_clock_hertz = value * 1e6;
  }
  if (nvml_->power != nullptr && nvml_->power(nvml_->device, &value) == kSuccess) {
    figures.gpu_power_watts = value * 1e-3;
  }
  unsigned long long reasons = 0;
  if (nvml_->reasons != nullptr && nvml_->reasons(nvml_->device, &reasons) == kSuccess) {
    figures.gpu_throttled = (reasons & kThrottling) != 0 ? 1 : 0;
  }
}

}  // namespace trainer::telemetry
