#include "trainer/report/document.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "trainer/config/config.h"
#include "trainer/report/curve.h"
#include "trainer/report/run_time.h"

namespace trainer::report {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMostPoints = 1600;  // of a curve; a page is some 1,200 pixels wide
constexpr size_t kFewestPoints = 200;
constexpr size_t kMostPhaseStretches = 240;
constexpr size_t kMostSpeakers = 50;  // in the table of the hardest

// Six digits are more than a screen shows, and keep the file small.
double Rounded(double value) { return std::strtod(absl::StrFormat("%.6g", value).c_str(), nullptr); }

Json RoundedList(const std::vector<double>& values) {
  Json list = Json::array();
  for (const double value : values) list.push_back(Rounded(value));
  return list;
}

// "x" is left out where it is all of the run's logged steps.
Json CurveToJson(const Curve& curve, const std::vector<int64_t>& shared_steps) {
  Json json = Json::object();
  if (curve.steps != shared_steps) json["x"] = curve.steps;
  json["y"] = RoundedList(curve.values);
  if (curve.thinned()) {
    json["mean_x"] = RoundedList(curve.mean_steps);
    json["mean_y"] = RoundedList(curve.mean_values);
  }
  return json;
}

Json CurvesToJson(const Metrics& metrics, const std::vector<double>& elapsed, size_t most,
                  const std::vector<int64_t>& shared_steps) {
  Json curves = Json::object();
  const auto add = [&](const std::string& name, const std::vector<double>& values) {
    const auto curve = ThinCurve(metrics.steps, values, most);
    if (!curve.values.empty()) curves[name] = CurveToJson(curve, shared_steps);
  };
  for (const auto& [name, values] : metrics.columns) {
    if (name != "unix_seconds" && name != "epoch") add(name, values);
  }
  for (const auto& [name, part, whole] :
       {std::tuple{"update_ratio", "update_norm", "weight_norm"},
        std::tuple{"data_wait_share", "data_wait_seconds", "step_seconds"},
        std::tuple{"exposed_communication_share", "exposed_communication_seconds", "step_seconds"}}) {
    add(name, Ratio(metrics, part, whole));
  }
  auto lag = Ratio(metrics, "busy_seconds.max", "busy_seconds.median");
  for (double& value : lag) value -= 1;
  add("slowest_rank_lag", lag);
  add("elapsed_seconds", elapsed);
  return curves;
}

Json PhasesToJson(const PhaseHistory& history) {
  Json phases = {{"names", history.names}, {"steps", history.steps}, {"values", Json::array()}};
  for (const auto& values : history.seconds_a_step) phases["values"].push_back(RoundedList(values));
  phases["totals"] = RoundedList(history.total_seconds);
  return phases;
}

// Which ranks were the slowest, and by how much: the most frequent first.
Json StragglersToJson(const Metrics& metrics) {
  const auto found = metrics.columns.find("slowest_rank");
  if (found == metrics.columns.end()) return Json::array();
  const auto ratio = Ratio(metrics, "busy_seconds.max", "busy_seconds.median");
  struct Tally {
    int64_t lines = 0;
    double lag = 0;
  };
  std::map<std::pair<int64_t, std::string>, Tally> tallies;
  int64_t lines = 0;
  for (size_t i = 0; i < metrics.steps.size(); ++i) {
    const double rank = found->second[i];
    if (!(rank >= 0 && rank < 1e9) || !std::isfinite(ratio[i])) continue;
    auto& tally = tallies[{static_cast<int64_t>(rank), metrics.slowest_hosts[i]}];
    ++tally.lines;
    tally.lag += ratio[i] - 1;
    ++lines;
  }
  std::vector<Json> rows;
  for (const auto& [who, tally] : tallies) {
    const auto count = static_cast<double>(tally.lines);
    rows.push_back({{"rank", who.first},
                    {"host", who.second},
                    {"share", Rounded(count / static_cast<double>(lines))},
                    {"lag", Rounded(tally.lag / count)}});
  }
  std::stable_sort(rows.begin(), rows.end(),
                   [](const Json& a, const Json& b) { return a["share"] > b["share"]; });
  if (rows.size() > 8) rows.resize(8);
  return rows;
}

Json EvaluationToJson(const Evaluation& evaluation) {
  auto order = evaluation.speakers;
  std::stable_sort(order.begin(), order.end(), [](const SpeakerRow& a, const SpeakerRow& b) {
    return static_cast<double>(a.correct) / static_cast<double>(a.utterances) <
           static_cast<double>(b.correct) / static_cast<double>(b.utterances);
  });
  Json hardest = Json::array(), pairs = Json::array();
  const auto to_json = [](const SpeakerRow& row) {
    return Json::array({row.speaker, row.utterances, row.correct, row.confused_with, row.confusions});
  };
  for (size_t i = 0; i < std::min(order.size(), kMostSpeakers); ++i) hardest.push_back(to_json(order[i]));
  std::stable_sort(order.begin(), order.end(),
                   [](const SpeakerRow& a, const SpeakerRow& b) { return a.confusions > b.confusions; });
  for (size_t i = 0; i < std::min(order.size(), kMostSpeakers) && order[i].confusions > 0; ++i) {
    pairs.push_back(to_json(order[i]));
  }
  Json json = {{"figures", Json(evaluation.figures)},
               {"speakers", evaluation.speakers.size()},
               {"hardest", hardest},
               {"pairs", pairs}};
  if (!evaluation.columns.empty()) {
    Json rows = Json::array(), cells = Json::array();
    for (const auto& row : evaluation.speakers) rows.push_back(row.speaker);
    for (const auto& cell : evaluation.cells) cells.push_back({cell.row, cell.column, cell.count});
    json["matrix"] = {{"rows", rows}, {"columns", evaluation.columns}, {"cells", cells}};
  }
  return json;
}

Json FiguresToJson(const Metrics& metrics, const std::vector<double>& elapsed) {
  Json figures = Json::object();
  if (metrics.steps.empty()) return figures;
  figures["steps"] = metrics.steps.back();
  figures["training_seconds"] = Rounded(elapsed.back());
  for (const char* name : {"loss", "accuracy"}) {
    if (const auto last = LastOf(metrics, name)) figures[name] = Rounded(*last);
  }
  for (const char* name : {"utterances_per_second", "model_flops_utilization"}) {
    if (const auto median = MedianOf(metrics, name)) figures[name] = Rounded(*median);
  }
  // As the training loop chooses its best: by accuracy, then by loss.
  const auto accuracy = metrics.columns.find("valid_accuracy");
  const auto loss = metrics.columns.find("valid_loss");
  if (accuracy == metrics.columns.end() || loss == metrics.columns.end()) return figures;
  std::optional<size_t> best;
  for (size_t i = 0; i < metrics.steps.size(); ++i) {
    const double a = accuracy->second[i], l = loss->second[i];
    if (!std::isfinite(a) || !std::isfinite(l)) continue;
    if (!best || a > accuracy->second[*best] || (a == accuracy->second[*best] && l < loss->second[*best])) {
      best = i;
    }
  }
  if (best) {
    figures["best"] = {{"step", metrics.steps[*best]},
                       {"valid_accuracy", Rounded(accuracy->second[*best])},
                       {"valid_loss", Rounded(loss->second[*best])}};
  }
  return figures;
}

Json RunToJson(const ReportedRun& reported, const std::string& label, size_t most_points) {
  const auto& run = reported.run;
  const auto& metrics = run.metrics;
  const auto elapsed = ElapsedSeconds(metrics);
  const std::vector<int64_t> shared_steps =
      metrics.steps.size() <= most_points ? metrics.steps : std::vector<int64_t>();
  Json json = {
      {"label", label},
      {"folder", run.folder},
      {"logged", metrics.steps.size()},
      {"steps", shared_steps},
      {"figures", FiguresToJson(metrics, elapsed)},
      {"curves", CurvesToJson(metrics, elapsed, most_points, shared_steps)},
      {"phases", PhasesToJson(PhasesOf(metrics, kMostPhaseStretches))},
      {"stragglers", StragglersToJson(metrics)},
      {"summary", Json(run.summary)},
      {"starts", Json(run.starts)},
      {"problems", run.problems},
      {"evaluation", reported.evaluation ? EvaluationToJson(*reported.evaluation) : Json()},
      {"evaluation_note", reported.evaluation_note},
  };
  return json;
}

// Every key that some run has, with each run's value (null where it lacks the key) and the default.
Json ConfigToJson(const std::vector<ReportedRun>& runs) {
  const auto defaults = FlattenYaml(config::ToYaml(config::Config{}));
  std::vector<std::string> keys;
  std::set<std::string> known;
  for (const auto& reported : runs) {
    for (const auto& [key, value] : reported.run.config) {
      if (known.insert(key).second) keys.push_back(key);
    }
  }
  Json table = Json::array();
  for (const auto& key : keys) {
    const auto value_in = [&](const FlatConfig& config) {
      const auto found =
          std::find_if(config.begin(), config.end(), [&](const auto& entry) { return entry.first == key; });
      return found == config.end() ? Json() : Json(found->second);
    };
    Json values = Json::array();
    for (const auto& reported : runs) values.push_back(value_in(reported.run.config));
    table.push_back({{"key", key},
                     {"values", std::move(values)},
                     {"default", defaults.ok() ? value_in(*defaults) : Json()}});
  }
  return table;
}

}  // namespace

std::vector<std::string> Labels(const std::vector<std::string>& folders) {
  std::vector<std::vector<std::string>> parts;
  size_t deepest = 1;
  for (const auto& folder : folders) {
    auto& components = parts.emplace_back();
    for (const auto& component : std::filesystem::path(folder).lexically_normal()) {
      if (!component.empty() && component != "/") components.push_back(component.string());
    }
    deepest = std::max(deepest, components.size());
  }
  std::vector<std::string> labels;
  for (size_t depth = 1; depth <= deepest; ++depth) {
    labels.clear();
    for (size_t i = 0; i < folders.size(); ++i) {
      const size_t count = std::min(depth, parts[i].size());
      labels.push_back(count == 0 ? folders[i]
                                  : absl::StrJoin(parts[i].end() - static_cast<std::ptrdiff_t>(count),
                                                  parts[i].end(), "/"));
    }
    if (std::set<std::string>(labels.begin(), labels.end()).size() == folders.size()) return labels;
  }
  return folders;
}

nlohmann::ordered_json BuildDocument(const std::vector<ReportedRun>& runs, const std::string& version,
                                     int64_t created_unix_seconds) {
  std::vector<std::string> folders;
  folders.reserve(runs.size());
  for (const auto& reported : runs) folders.push_back(reported.run.folder);
  const auto labels = Labels(folders);
  const size_t most_points = std::clamp(3 * kMostPoints / 2 / runs.size(), kFewestPoints, kMostPoints);
  Json document = {{"version", version},
                   {"created_unix_seconds", created_unix_seconds},
                   {"runs", Json::array()},
                   {"config", ConfigToJson(runs)}};
  for (size_t i = 0; i < runs.size(); ++i) {
    document["runs"].push_back(RunToJson(runs[i], labels[i], most_points));
  }
  return document;
}

}  // namespace trainer::report
