#include "trainer/telemetry/tensorboard_figures.h"

#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace trainer::telemetry {
namespace {

void AddOwn(const IntervalFigures& figures, Summary* out) {
  Summary& summary = *out;
  summary.AddScalar("train/loss", figures.loss);
  summary.AddScalar("train/accuracy", figures.accuracy);
  summary.AddScalar("train/epoch", static_cast<double>(figures.epoch));
  if (figures.valid_loss) summary.AddScalar("valid/loss", *figures.valid_loss);
  if (figures.valid_accuracy) summary.AddScalar("valid/accuracy", *figures.valid_accuracy);
  summary.AddScalar("schedule/learning_rate", figures.learning_rate);
  summary.AddScalar("norms/gradient", figures.gradient_norm);
  summary.AddScalar("norms/weights", figures.weight_norm);
  summary.AddScalar("norms/update", figures.update_norm);
  summary.AddScalar("speed/utterances_per_second", figures.utterances_per_second);
  summary.AddScalar("speed/frames_per_second", figures.frames_per_second);
  summary.AddScalar("speed/audio_hours_per_second", figures.audio_hours_per_second);
  summary.AddScalar("speed/step_ms", 1e3 * figures.step_seconds);
  summary.AddScalar("speed/gflops_per_second",
                    figures.step_seconds > 0 ? 1e-9 * figures.flops_per_step / figures.step_seconds : 0);
  if (figures.model_flops_utilization) {
    summary.AddScalar("speed/model_flops_utilization", *figures.model_flops_utilization);
  }
  summary.AddScalar("speed/reduced_mb_per_step", 1e-6 * figures.reduced_bytes);
  summary.AddScalar("speed/bus_bandwidth_gb_per_second", 1e-9 * figures.bus_bandwidth_bytes_per_second);
  for (size_t i = 0; i < kPhases; ++i) {
    summary.AddScalar(absl::StrCat("phases/", kPhaseNames[i], "_ms"), 1e3 * figures.phase_seconds[i]);
  }
}

// The largest of a figure over the ranks that know it, where there are any.
void AddLargest(const RanksFigures& figures, std::string_view tag, double RankFigures::*member, double factor,
                Summary* summary) {
  std::vector<double> known;
  for (const auto& rank : figures.ranks) {
    if (!std::isnan(rank.*member)) known.push_back(rank.*member);
  }
  if (!known.empty()) summary->AddScalar(tag, factor * SpreadOf(known).max);
}

void AddRanks(const RanksFigures& figures, Summary* summary) {
  const auto busy = figures.Busy();
  summary->AddScalar("ranks/busy_ms_min", 1e3 * busy.min);
  summary->AddScalar("ranks/busy_ms_median", 1e3 * busy.median);
  summary->AddScalar("ranks/busy_ms_max", 1e3 * busy.max);
  summary->AddScalar("ranks/slowest", static_cast<double>(busy.max_rank));
  AddLargest(figures, "ranks/host_memory_mb_max", &RankFigures::host_memory_bytes, 1e-6, summary);
  AddLargest(figures, "devices/memory_mb_max", &RankFigures::device_memory_bytes, 1e-6, summary);
  AddLargest(figures, "devices/utilization_max", &RankFigures::gpu_utilization, 1, summary);
  AddLargest(figures, "devices/temperature_celsius_max", &RankFigures::gpu_temperature_celsius, 1, summary);
  AddLargest(figures, "devices/clock_mhz_max", &RankFigures::gpu_clock_hertz, 1e-6, summary);
  AddLargest(figures, "devices/power_watts_max", &RankFigures::gpu_power_watts, 1, summary);
  AddLargest(figures, "devices/throttled", &RankFigures::gpu_throttled, 1, summary);
}

}  // namespace

absl::Status Write(const IntervalFigures& figures, TensorBoardWriter& writer) {
  Summary summary;
  AddOwn(figures, &summary);
  if (figures.ranks) AddRanks(*figures.ranks, &summary);
  return writer.Write(summary, figures.step, figures.unix_seconds);
}

}  // namespace trainer::telemetry
