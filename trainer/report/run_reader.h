// A run folder, read for the report. Tolerant: runs of older versions, runs that are still writing and runs
// that were killed are read as far as they go. Bad bytes never crash.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace trainer::report {

// metrics.jsonl as columns. A step that stands there twice counts as it was written last.
struct Metrics {
  std::vector<int64_t> steps;  // ascending
  // By name as in metrics.jsonl ("busy_seconds.max" for a value inside an object), each as long as `steps`.
  // Not a number where a line lacks the key or has no number there. Only names that the report knows, and
  // only those that occur.
  std::map<std::string, std::vector<double>> columns;
  std::vector<std::string> slowest_hosts;  // as long as `steps`; "" where not known
  int64_t unreadable_lines = 0;            // a torn last line does not count
};

// Dotted keys and their values as text, in the order of the file: {"optimizer.lr", "0.001"}.
using FlatConfig = std::vector<std::pair<std::string, std::string>>;

struct Run {
  std::string folder;  // as it was given
  Metrics metrics;
  FlatConfig config;                   // empty where config.yaml is missing or damaged
  nlohmann::json summary;              // summary.json, an object; null where missing or damaged
  std::vector<nlohmann::json> starts;  // starts.jsonl, one object a start; empty for older runs
  std::vector<std::string> problems;   // what is damaged, a line each
};

// kInvalidArgument where `folder` is no run folder: one line.
absl::StatusOr<Run> ReadRun(const std::string& folder);

// The value of `key`, "" where it is not there.
std::string ValueOf(const FlatConfig& config, const std::string& key);

// YAML of sections of keys, as a run's config.yaml is. kDataLoss: it is not.
absl::StatusOr<FlatConfig> FlattenYaml(const std::string& text);

}  // namespace trainer::report
