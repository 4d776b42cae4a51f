#include "trainer/preflight/preflight.h"

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "launcher/control.h"
#include "trainer/engine/stop_budget.h"
#include "trainer/preflight/all_reduce.h"
#include "trainer/preflight/clocks.h"
#include "trainer/preflight/hosts.h"
#include "trainer/preflight/reading.h"
#include "trainer/preflight/run_folder.h"
#include "trainer/preflight/speed.h"
#include "trainer/preflight/training.h"
#include "trainer/preflight/versions.h"
#include "trainer/telemetry/auth_file.h"
#include "trainer/telemetry/metrics_endpoint.h"
#include "trainer/telemetry/pushgateway.h"
#include "trainer/version.h"

namespace trainer::preflight {
namespace {

namespace fs = std::filesystem;

// What rank 0 will read, write and listen on for metrics.
void CheckMetrics(const config::Config& config, Report& report) {
  const auto& prometheus = config.metrics.prometheus;
  const auto warn = [&](const std::string& line) { report.Warn(line, ""); };
  const auto check = [&](const char* key, const std::string& file) {
    if (!file.empty()) report.Error(telemetry::ReadAuthFile(key, file, warn).status());
  };
  check("metrics.prometheus.auth_file", prometheus.auth_file);
  check("metrics.prometheus.push_auth_file", prometheus.push_auth_file);
  if (!prometheus.address.empty() && prometheus.address != "none") {
    // What it would warn of is left to the run: the port may be another one by then.
    report.Error(telemetry::MetricsEndpoint::Open(
                     prometheus.address, "", [] { return std::string(); }, [](const std::string&) {})
                     .status());
  }
  if (!prometheus.pushgateway.empty()) {
    report.Error(telemetry::Pushgateway::At(prometheus.pushgateway, "", "preflight").status());
  }
  if (prometheus.textfile.empty()) return;
  std::error_code error;
  const auto folder = fs::absolute(prometheus.textfile, error).parent_path();
  if (!fs::is_directory(folder, error)) {
    report.Error(absl::StrCat("metrics.prometheus.textfile: there is no folder ", folder.string()),
                 "make it first");
  }
}

// Where SLURM says how long before the end it warns: whether that is long enough.
void CheckStopBudget(const RunFolder& folder, const TrainingFigures& figures, Report& report) {
  auto budget = engine::StopBudget::FromEnvironment();
  if (!budget.ok()) return;  // is an error already
  report.Begin("training");
  budget->CountStep(figures.step_seconds);
  budget->CountValidation(figures.validation_seconds);
  if (folder.write_bytes_per_second > 0) {
    budget->CountSave(static_cast<double>(figures.checkpoint_bytes) / folder.write_bytes_per_second);
  }
  if (const auto warning = budget->TakeWarning()) report.Warn(*warning, "");
}

void DescribeConfig(const std::string& name, const config::Config& config, const launcher::World& world,
                    Report& report) {
  report.Begin("config");
  report.Ok(absl::StrCat(name, ": ", config.model.type, ", train.global_batch ", config.train.global_batch,
                         " over ", world.size, world.size == 1 ? " rank" : " ranks"));
  for (const auto& warning : config::Warnings(config)) report.Warn(warning, "change it unless it is meant");
  report.Error(engine::StopBudget::FromEnvironment().status());
  CheckMetrics(config, report);
  report.figures("config") = {{"name", name}, {"world_size", world.size}};
}

}  // namespace

absl::Status Run(const std::string& name, const LoadFunction& load, const launcher::World& world,
                 const Progress& progress, Report& report) {
  progress(0);
  if (!CheckVersions(world, report)) return absl::OkStatus();

  progress(1);
  const auto config = load();
  if (auto status = launcher::AgreeOn(world, config.status()); !status.ok()) return status;
  if (world.rank == 0) DescribeConfig(name, *config, world, report);
  const auto device = BindAndDescribeHosts(*config, world, report);
  CheckClocks(world, report);

  progress(2);
  const auto data = OpenData(*config, world, report);
  const auto folder = CheckRunFolder(*config, world, report);
  if (folder.in_use) return absl::OkStatus();

  bool readable = false;
  if (data) {
    progress(3);
    readable = MeasureReading(*data, world, device && device->is_cuda(), report);
  }
  if (!device) return absl::OkStatus();
  progress(4);
  MeasureSpeed(world, *device, report);
  progress(5);
  const auto communicator = launcher::MakeCommunicator(world, *device);
  MeasureAllReduce(world, *device, *communicator, report);
  if (!readable) return absl::OkStatus();
  progress(6);
  const auto figures = TryTraining(*config, world, *device, *data, *communicator, folder.usable, report);
  if (figures && world.rank == 0) {
    CheckStopBudget(folder, *figures, report);
    CheckDisk(*config, folder, figures->checkpoint_bytes, data->has_validation(), figures->step_seconds,
              report);
  }
  return absl::OkStatus();
}

}  // namespace trainer::preflight
