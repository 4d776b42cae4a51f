#include "trainer/telemetry/run_figures.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"

namespace trainer::telemetry {

double RankFigures::BusySeconds() const {
  double busy = 0;
  for (const Phase phase :
       {Phase::kDataWait, Phase::kHostToDevice, Phase::kForward, Phase::kBackward, Phase::kOptimizer}) {
    busy += phase_seconds[static_cast<size_t>(phase)];
  }
  return busy;
}

Spread SpreadOf(const std::vector<double>& values) {
  auto sorted = values;
  std::sort(sorted.begin(), sorted.end());
  const size_t middle = sorted.size() / 2;
  Spread spread;
  spread.min = sorted.front();
  spread.max = sorted.back();
  spread.median = sorted.size() % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  spread.max_rank = std::max_element(values.begin(), values.end()) - values.begin();
  return spread;
}

Spread RanksFigures::Busy() const {
  std::vector<double> busy;
  for (const auto& rank : ranks) busy.push_back(rank.BusySeconds());
  return SpreadOf(busy);
}

nlohmann::ordered_json ToJson(const IntervalFigures& figures) {
  nlohmann::ordered_json json = {
      {"step", figures.step},
      {"epoch", figures.epoch},
      {"unix_seconds", figures.unix_seconds},
      {"loss", figures.loss},
      {"accuracy", figures.accuracy},
      {"learning_rate", figures.learning_rate},
      {"gradient_norm", figures.gradient_norm},
      {"weight_norm", figures.weight_norm},
      {"update_norm", figures.update_norm},
      {"step_seconds", figures.step_seconds},
  };
  for (size_t i = 0; i < kPhases; ++i) {
    json[absl::StrCat(kPhaseNames[i], "_seconds")] = figures.phase_seconds[i];
  }
  if (figures.totals.checkpoint_stall_seconds) {
    json["checkpoint_stall_seconds"] = *figures.totals.checkpoint_stall_seconds;
  }
  if (figures.totals.checkpoint_write_seconds) {
    json["checkpoint_write_seconds"] = *figures.totals.checkpoint_write_seconds;
  }
  json["utterances_per_second"] = figures.utterances_per_second;
  json["frames_per_second"] = figures.frames_per_second;
  json["audio_hours_per_second"] = figures.audio_hours_per_second;
  json["reduced_bytes"] = figures.reduced_bytes;
  json["bus_bandwidth_bytes_per_second"] = figures.bus_bandwidth_bytes_per_second;
  json["flops_per_step"] = figures.flops_per_step;
  json["recording_seconds"] = figures.recording_seconds;
  if (figures.model_flops_utilization) json["model_flops_utilization"] = *figures.model_flops_utilization;
  if (figures.ranks) {
    const auto busy = figures.ranks->Busy();
    json["busy_seconds"] = {{"min", busy.min}, {"median", busy.median}, {"max", busy.max}};
    json["slowest_rank"] = busy.max_rank;
    json["slowest_host"] = figures.ranks->hosts.at(static_cast<size_t>(busy.max_rank));
    double host_memory = 0, device_memory = kUnknown;
    for (const auto& rank : figures.ranks->ranks) {
      host_memory = std::max(host_memory, rank.host_memory_bytes);
      device_memory = std::fmax(device_memory, rank.device_memory_bytes);  // of a number and none: the number
    }
    json["host_memory_bytes"] = host_memory;
    if (!std::isnan(device_memory)) json["device_memory_bytes"] = device_memory;
  }
  if (figures.valid_loss) json["valid_loss"] = *figures.valid_loss;
  if (figures.valid_accuracy) json["valid_accuracy"] = *figures.valid_accuracy;
  return json;
}

}  // namespace trainer::telemetry
