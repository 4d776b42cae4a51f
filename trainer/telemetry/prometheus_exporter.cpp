#include "trainer/telemetry/prometheus_exporter.h"

#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "trainer/telemetry/no_signals.h"
#include "trainer/telemetry/unix_time.h"
#include "trainer/telemetry/whole_writes.h"

namespace trainer::telemetry {
namespace {

absl::Status WriteText(const std::string& path, const std::string& text) {
  const int error = ReplaceFile(path, text);
  if (error == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("cannot write ", path, ": ", std::strerror(error)));
}

// Warns of the first failure, and of the first one after it has worked again.
class Trouble {
 public:
  explicit Trouble(const WarnFunction& warn) : warn_(warn) {}
  void Report(const absl::Status& status, const char* what_now) {
    if (!status.ok() && !failing_) warn_(absl::StrCat(status.message(), what_now));
    failing_ = !status.ok();
  }

 private:
  const WarnFunction& warn_;
  bool failing_ = false;
};

}  // namespace

PrometheusExporter::PrometheusExporter(RunView view, WarnFunction warn)
    : warn_(std::move(warn)), view_(std::move(view)) {}

absl::StatusOr<std::unique_ptr<PrometheusExporter>> PrometheusExporter::Start(
    const PrometheusOptions& options, std::string run, std::map<std::string, std::string> info,
    const std::string& run_dir, WarnFunction warn) {
  RunView view;
  view.run = std::move(run);
  view.info = std::move(info);
  view.start_unix_seconds = UnixSeconds();
  std::unique_ptr<PrometheusExporter> exporter(new PrometheusExporter(std::move(view), std::move(warn)));
  if (auto status = exporter->Open(options, run_dir); !status.ok()) return status;
  return exporter;
}

absl::Status PrometheusExporter::Open(const PrometheusOptions& options, const std::string& run_dir) {
  const std::string endpoint_file = (std::filesystem::path(run_dir) / "metrics_endpoint").string();
  std::remove(endpoint_file.c_str());  // left by a run that was killed
  if (!options.address.empty() && options.address != "none") {
    auto endpoint = MetricsEndpoint::Open(
        options.address, options.auth_file, [this] { return Text(); }, warn_);
    if (!endpoint.ok()) return endpoint.status();
    endpoint_ = *std::move(endpoint);
    endpoint_file_ = endpoint_file;
    if (auto status = WriteEndpointFile(); !status.ok()) return status;
  }
  if (!options.pushgateway.empty()) {
    absl::StatusOr<std::string> user("");
    if (!options.push_auth_file.empty()) {
      user = ReadAuthFile("metrics.prometheus.push_auth_file", options.push_auth_file, warn_);
      if (!user.ok()) return user.status();
    }
    auto gateway = Pushgateway::At(options.pushgateway, *user, view_.run);
    if (!gateway.ok()) return gateway.status();
    pushgateway_ = *std::move(gateway);
    push_seconds_ = options.push_seconds;
  }
  if (!options.textfile.empty()) {
    constexpr char kTextfileKey[] = "metrics.prometheus.textfile: ";
    if (!absl::EndsWith(options.textfile, ".prom")) {
      return absl::InvalidArgumentError(
          absl::StrCat(kTextfileKey, "node_exporter reads only files named *.prom, not ", options.textfile));
    }
    textfile_ = options.textfile;
    if (auto status = WriteText(textfile_, Text()); !status.ok()) {
      return absl::InvalidArgumentError(absl::StrCat(kTextfileKey, status.message()));
    }
  }
  if (pushgateway_ || !textfile_.empty()) {
    const NoSignals no_signals;
    publisher_ = std::thread(&PrometheusExporter::Publish, this);
  }
  return absl::OkStatus();
}

absl::Status PrometheusExporter::WriteEndpointFile() const {
  return endpoint_ ? WriteText(endpoint_file_, url() + "\n") : absl::OkStatus();
}

PrometheusExporter::~PrometheusExporter() { Finish(RunState::kFailed); }

// By any thread.
std::string PrometheusExporter::Text() const {
  std::unique_lock lock(mutex_);
  const RunView view = view_;
  lock.unlock();
  return MetricsText(MetricFamilies(view));
}

void PrometheusExporter::Update(const IntervalFigures& figures) {
  Change([&] {
    const auto before = std::exchange(view_.figures, figures);
    view_.totals = figures.totals;
    if (!before) return;
    if (!figures.valid_loss) view_.figures->valid_loss = before->valid_loss;
    if (!figures.valid_accuracy) view_.figures->valid_accuracy = before->valid_accuracy;
    if (!figures.ranks) view_.figures->ranks = before->ranks;
  });
}

void PrometheusExporter::Update(const RunTotals& totals) {
  Change([&] { view_.totals = totals; });
}

void PrometheusExporter::Change(const std::function<void()>& change) {
  {
    const std::lock_guard lock(mutex_);
    change();
    fresh_ = true;
  }
  changed_.notify_one();
}

void PrometheusExporter::Finish(RunState state) {
  if (view_.state != RunState::kRunning) return;
  Change([&] { view_.state = state; });
  // A push that is under way and the last one take two seconds each at most.
  if (publisher_.joinable()) publisher_.join();
  if (!endpoint_file_.empty()) std::remove(endpoint_file_.c_str());
  endpoint_.reset();
}

// The publishing thread.
void PrometheusExporter::Publish() {
  using Clock = std::chrono::steady_clock;
  Trouble push_trouble(warn_), file_trouble(warn_);
  auto next_push = Clock::now();
  for (bool ending = false; !ending;) {
    bool fresh = false;
    {
      std::unique_lock lock(mutex_);
      const auto woken = [&] { return view_.state != RunState::kRunning || (fresh_ && !textfile_.empty()); };
      if (pushgateway_) {
        changed_.wait_until(lock, next_push, woken);
      } else {
        changed_.wait(lock, woken);
      }
      fresh = std::exchange(fresh_, false);
      ending = view_.state != RunState::kRunning;
    }
    if (fresh && !textfile_.empty()) {
      file_trouble.Report(WriteText(textfile_, Text()), "; the run goes on, node_exporter sees old metrics");
    }
    if (pushgateway_ && (ending || Clock::now() >= next_push)) {
      push_trouble.Report(pushgateway_->Push(Text()), "; the run goes on, and will try again");
      next_push = Clock::now() +
                  std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(push_seconds_));
    }
  }
}

}  // namespace trainer::telemetry
