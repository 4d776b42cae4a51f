// What a run shows to Prometheus: one table of metrics, which is served and which docs/metrics.md is checked
// against.
#pragma once

#include <prometheus/metric_family.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "trainer/telemetry/run_figures.h"

namespace trainer::telemetry {

// How far a run is. Pushgateways and textfiles remember a run that has ended; this tells it from one that
// hangs.
enum class RunState { kRunning, kFinished, kStopped, kFailed };

// All that the metrics are made from.
struct RunView {
  std::string run;                          // the label of every metric
  std::map<std::string, std::string> info;  // labels of trainer_run_info
  RunState state = RunState::kRunning;
  double start_unix_seconds = 0;
  std::optional<IntervalFigures> figures;  // none before the first log line; its totals are not looked at
  RunTotals totals;
};

// The metrics and their values now; those of which nothing is known are left out. Label values are made valid
// UTF-8, without which a whole scrape would be refused.
std::vector<prometheus::MetricFamily> MetricFamilies(const RunView& run);

// In Prometheus' text format.
std::string MetricsText(const std::vector<prometheus::MetricFamily>& families);

// The table of docs/metrics.md.
std::string MetricsTable();

}  // namespace trainer::telemetry
