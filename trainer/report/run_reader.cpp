#include "trainer/report/run_reader.h"

#include <yaml-cpp/yaml.h>

#include <array>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "trainer/report/shallow_json.h"
#include "trainer/telemetry/run_figures.h"

namespace trainer::report {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr double kAbsent = std::numeric_limits<double>::quiet_NaN();
// JavaScript counts exactly up to here.
constexpr int64_t kLargestStep = int64_t{1} << 53;

// Those the report draws, beside the phases.
constexpr std::array kNames = {
    "unix_seconds",
    "epoch",
    "loss",
    "accuracy",
    "valid_loss",
    "valid_accuracy",
    "learning_rate",
    "gradient_norm",
    "weight_norm",
    "update_norm",
    "step_seconds",
    "utterances_per_second",
    "audio_hours_per_second",
    "bus_bandwidth_bytes_per_second",
    "model_flops_utilization",
    "slowest_rank",
    "host_memory_bytes",
    "device_memory_bytes",
};
constexpr std::array kSpreadNames = {"min", "median", "max"};

double NumberAt(const json& object, const std::string& key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number() ? found->get<double>() : kAbsent;
}

class MetricsReader {
 public:
  void Add(const json& line) {
    const auto step = line["step"].get<int64_t>();
    while (!metrics_.steps.empty() && metrics_.steps.back() >= step) DropLast();
    metrics_.steps.push_back(step);
    for (const char* name : kNames) Set(name, NumberAt(line, name));
    for (const char* phase : telemetry::kPhaseNames) {
      const std::string name = absl::StrCat(phase, "_seconds");
      Set(name, NumberAt(line, name));
    }
    if (const auto busy = line.find("busy_seconds"); busy != line.end() && busy->is_object()) {
      for (const char* name : kSpreadNames) Set(absl::StrCat("busy_seconds.", name), NumberAt(*busy, name));
    }
    const auto host = line.find("slowest_host");
    metrics_.slowest_hosts.push_back(host != line.end() && host->is_string() ? host->get<std::string>() : "");
    for (auto& [name, column] : metrics_.columns) column.resize(metrics_.steps.size(), kAbsent);
  }

  Metrics Take() { return std::move(metrics_); }

 private:
  void Set(const std::string& name, double value) {
    if (!std::isfinite(value)) return;
    auto& column = metrics_.columns[name];
    column.resize(metrics_.steps.size(), kAbsent);
    column.back() = value;
  }

  void DropLast() {
    metrics_.steps.pop_back();
    metrics_.slowest_hosts.pop_back();
    for (auto& [name, column] : metrics_.columns) column.pop_back();
  }

  Metrics metrics_;
};

bool IsMetricsLine(const json& line) {
  if (!line.is_object() || !line.contains("step") || !line["step"].is_number_integer()) return false;
  const auto& step = line["step"];
  // A step beyond int64 is stored as unsigned.
  if (step.is_number_unsigned() && step.get<uint64_t>() > static_cast<uint64_t>(kLargestStep)) return false;
  return step.get<int64_t>() >= 0;
}

// Calls `use` with each line's JSON; returns how many lines it did not want, save for a last one that lacks
// its line end: that one is being written, or was when the run was killed.
template <typename Use>
int64_t ForEachJsonLine(const fs::path& path, const Use& use) {
  std::ifstream stream(path, std::ios::binary);
  int64_t unwanted = 0;
  for (std::string line; std::getline(stream, line);) {
    const bool torn = stream.eof();
    if (line.empty()) continue;
    if (!use(ParseShallow(line)) && !torn) ++unwanted;
  }
  return unwanted;
}

Metrics ReadMetrics(const fs::path& path) {
  MetricsReader reader;
  const int64_t unreadable = ForEachJsonLine(path, [&](const json& line) {
    if (!IsMetricsLine(line)) return false;
    reader.Add(line);
    return true;
  });
  auto metrics = reader.Take();
  metrics.unreadable_lines = unreadable;
  return metrics;
}

std::string ReadAll(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

std::string TextOf(const YAML::Node& value) {
  if (value.IsScalar()) return value.Scalar();
  if (!value.IsSequence()) return "";
  std::vector<std::string> items;
  for (const auto& item : value) items.push_back(item.IsScalar() ? item.Scalar() : "...");
  return absl::StrCat("[", absl::StrJoin(items, ", "), "]");
}

void AddEntries(const YAML::Node& section, const std::string& prefix, int depth, FlatConfig& config) {
  constexpr int kDeepest = 4;
  for (const auto& entry : section) {
    const std::string key = prefix + entry.first.as<std::string>();
    if (entry.second.IsMap() && depth < kDeepest) {
      AddEntries(entry.second, key + ".", depth + 1, config);
    } else {
      config.emplace_back(key, TextOf(entry.second));
    }
  }
}

}  // namespace

std::string ValueOf(const FlatConfig& config, const std::string& key) {
  for (const auto& [name, value] : config) {
    if (name == key) return value;
  }
  return "";
}

absl::StatusOr<FlatConfig> FlattenYaml(const std::string& text) {
  try {
    const auto root = YAML::Load(text);
    if (!root.IsMap()) return absl::DataLossError("it is not YAML of sections");
    FlatConfig config;
    AddEntries(root, "", 0, config);
    return config;
  } catch (const YAML::Exception& error) {
    return absl::DataLossError(error.what());
  }
}

absl::StatusOr<Run> ReadRun(const std::string& folder) {
  const fs::path path(folder);
  std::error_code error;
  if (!fs::is_directory(path, error)) {
    return absl::InvalidArgumentError(
        absl::StrCat(folder, fs::exists(path, error) ? " is no folder" : " is not there",
                     "; name a run folder, which holds config.yaml and metrics.jsonl"));
  }
  const auto metrics = path / "metrics.jsonl", config = path / "config.yaml";
  const bool has_config = fs::is_regular_file(config, error);
  if (!has_config && !fs::is_regular_file(metrics, error)) {
    return absl::InvalidArgumentError(
        absl::StrCat(folder,
                     " is no run folder: it has neither metrics.jsonl nor config.yaml; "
                     "name the run.dir of a training"));
  }
  Run run;
  run.folder = folder;
  run.metrics = ReadMetrics(metrics);
  if (run.metrics.unreadable_lines > 0) {
    run.problems.push_back(
        absl::StrCat("metrics.jsonl: ", run.metrics.unreadable_lines, " lines could not be read"));
  }
  if (has_config) {
    auto flat = FlattenYaml(ReadAll(config));
    if (flat.ok()) {
      run.config = *std::move(flat);
    } else {
      run.problems.push_back(absl::StrCat("config.yaml is damaged: ", flat.status().message()));
    }
  }
  if (const auto summary = path / "summary.json"; fs::is_regular_file(summary, error)) {
    run.summary = ParseShallow(ReadAll(summary));
    if (!run.summary.is_object()) {
      run.summary = nullptr;
      run.problems.emplace_back("summary.json is damaged");
    }
  }
  ForEachJsonLine(path / "starts.jsonl", [&](json line) {
    if (!line.is_object()) return false;
    run.starts.push_back(std::move(line));
    return true;
  });
  return run;
}

}  // namespace trainer::report
