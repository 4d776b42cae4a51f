// Shows a run to Prometheus: by an endpoint that it fetches from, by pushing to a Pushgateway, and by a file
// for node_exporter. docs/metrics.md lists the metrics.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/telemetry/metrics_endpoint.h"
#include "trainer/telemetry/prometheus_metrics.h"
#include "trainer/telemetry/pushgateway.h"
#include "trainer/telemetry/run_figures.h"

namespace trainer::telemetry {

// The keys metrics.prometheus.*.
struct PrometheusOptions {
  std::string
      address;  // of the endpoint: host:port, :port or port (both loopback); "" or "none": no endpoint
  std::string auth_file;       // with one line user:password; "": none
  std::string pushgateway;     // host:port or URL; "": none
  std::string push_auth_file;  // with one line user:password; "": none
  double push_seconds = 15;
  std::string textfile;  // *.prom; "": none
};

// Owned by rank 0. The public methods are for one thread; none of them waits for a network, but for the last
// push. A thread of its own writes the textfile after each update and pushes every push_seconds. What fails
// there is warned of once, and again after it has worked in between; a run never ends by it.
class PrometheusExporter {
 public:
  // `run` is the label of all metrics and `info` the labels of trainer_run_info (letters, digits and _ in
  // their names). The endpoint's URL is written to run_dir/metrics_endpoint. `warn` is called by any thread,
  // and must be callable as long as the exporter lives. Errors (kInvalidArgument): options that cannot be, an
  // address that cannot be listened on, a file that cannot be written.
  static absl::StatusOr<std::unique_ptr<PrometheusExporter>> Start(const PrometheusOptions& options,
                                                                   std::string run,
                                                                   std::map<std::string, std::string> info,
                                                                   const std::string& run_dir,
                                                                   WarnFunction warn);
  // As Finish(kFailed), where it has not been called.
  ~PrometheusExporter();
  PrometheusExporter(const PrometheusExporter&) = delete;
  PrometheusExporter& operator=(const PrometheusExporter&) = delete;

  // From a log line on. A validation's figures and the ranks' are kept until newer ones come.
  void Update(const IntervalFigures& figures);
  // Between log lines: before the first step, and where a run ends before its next line.
  void Update(const RunTotals& totals);

  // The run has ended: writes the textfile and pushes a last time, for which it waits (at most five seconds),
  // and closes the endpoint. No call but the destructor may follow.
  void Finish(RunState state);

  // Writes run_dir/metrics_endpoint again, where there is an endpoint: the run folder has been made anew.
  absl::Status WriteEndpointFile() const;

  // The endpoint's URL; empty where there is none.
  std::string url() const { return endpoint_ ? endpoint_->url() : ""; }

 private:
  PrometheusExporter(RunView view, WarnFunction warn);
  absl::Status Open(const PrometheusOptions& options, const std::string& run_dir);
  void Change(const std::function<void()>& change);
  std::string Text() const;
  void Publish();

  const WarnFunction warn_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  RunView view_;        // guarded by mutex_; only the owner's thread changes it
  bool fresh_ = false;  // it has changed since the textfile was written; guarded by mutex_

  std::unique_ptr<MetricsEndpoint> endpoint_;
  std::string endpoint_file_;
  std::optional<Pushgateway> pushgateway_;
  double push_seconds_ = 0;
  std::string textfile_;
  std::thread publisher_;
};

}  // namespace trainer::telemetry
