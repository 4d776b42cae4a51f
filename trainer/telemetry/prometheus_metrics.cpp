#include "trainer/telemetry/prometheus_metrics.h"

#include <prometheus/text_serializer.h>

#include <cmath>
#include <sstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "trainer/telemetry/valid_utf8.h"

namespace trainer::telemetry {
namespace {

using prometheus::MetricType;

// Where a row of the table puts its values.
class Samples {
 public:
  Samples(const std::string& run, prometheus::MetricFamily& family) : run_(run), family_(family) {}

  void Add(double value, const std::map<std::string, std::string>& labels = {}) {
    auto& metric = family_.metric.emplace_back();
    metric.label.push_back({"run", ValidUtf8(run_)});
    for (const auto& [name, text] : labels) metric.label.push_back({name, ValidUtf8(text)});
    (family_.type == MetricType::Counter ? metric.counter.value : metric.gauge.value) = value;
  }
  void Add(const std::optional<double>& value) {
    if (value) Add(*value);
  }
  // A moment; 0 is none.
  void AddTime(double unix_seconds) {
    if (unix_seconds > 0) Add(unix_seconds);
  }

 private:
  const std::string& run_;
  prometheus::MetricFamily& family_;
};

using Read = void (*)(const RunView&, Samples&);

struct Metric {
  const char* name;
  MetricType type;
  const char* unit;
  const char* labels;  // beside run
  const char* meaning;
  Read read;
};

template <auto Member>
void Figure(const RunView& run, Samples& samples) {
  if (run.figures) samples.Add((*run.figures).*Member);
}

template <auto Member>
void Total(const RunView& run, Samples& samples) {
  samples.Add(static_cast<double>(run.totals.*Member));
}

template <auto Member>
void TotalFigure(const RunView& run, Samples& samples) {
  samples.Add(run.totals.*Member);
}

template <auto Member>
void TotalTime(const RunView& run, Samples& samples) {
  samples.AddTime(run.totals.*Member);
}

template <typename Visit>
void ForEachRank(const RunView& run, const Visit& visit) {
  if (!run.figures || !run.figures->ranks) return;
  const auto& ranks = run.figures->ranks->ranks;
  for (size_t i = 0; i < ranks.size(); ++i) visit(i, absl::StrCat(i), ranks[i]);
}

template <auto Member>
void EachRank(const RunView& run, Samples& samples) {
  ForEachRank(run, [&](size_t, const std::string& number, const RankFigures& rank) {
    if (!std::isnan(rank.*Member)) samples.Add(rank.*Member, {{"rank", number}});
  });
}

constexpr MetricType kGauge = MetricType::Gauge;
constexpr MetricType kCounter = MetricType::Counter;

const std::vector<Metric>& Metrics() {
  using F = IntervalFigures;
  using R = RankFigures;
  using T = RunTotals;
  static const std::vector<Metric> metrics = {
      // The run.
      {"trainer_run_info", kGauge, "1", "see below",
       "Always 1; its labels say what runs: program version, ranks, device, configuration.",
       [](const RunView& run, Samples& samples) { samples.Add(1, run.info); }},
      {"trainer_run_state", kGauge, "0 or 1", "state",
       "1 for the state that the run is in: running, finished, stopped (on request) or failed; 0 for the "
       "others.",
       [](const RunView& run, Samples& samples) {
         using S = RunState;
         for (const auto& [state, name] : {std::pair{S::kRunning, "running"},
                                           {S::kFinished, "finished"},
                                           {S::kStopped, "stopped"},
                                           {S::kFailed, "failed"}}) {
           samples.Add(run.state == state ? 1 : 0, {{"state", name}});
         }
       }},
      {"trainer_start_timestamp_seconds", kGauge, "seconds since 1970", "",
       "When this start of the run began.",
       [](const RunView& run, Samples& samples) { samples.AddTime(run.start_unix_seconds); }},
      {"trainer_last_step_timestamp_seconds", kGauge, "seconds since 1970", "", "When the last step ended.",
       TotalTime<&T::last_step_unix_seconds>},
      {"trainer_last_checkpoint_timestamp_seconds", kGauge, "seconds since 1970", "",
       "When the last checkpoint was saved; absent before the first.",
       TotalTime<&T::last_checkpoint_unix_seconds>},
      {"trainer_last_log_timestamp_seconds", kGauge, "seconds since 1970", "",
       "When the figures of the last log interval were taken.",
       [](const RunView& run, Samples& samples) {
         if (run.figures) samples.AddTime(run.figures->unix_seconds);
       }},
      {"trainer_step", kGauge, "steps", "", "The last step of the last log interval, counted from 1.",
       Figure<&F::step>},
      {"trainer_planned_steps", kGauge, "steps", "", "The step at which the run is finished.",
       Figure<&F::total_steps>},
      {"trainer_epoch", kGauge, "epochs", "", "Epochs completed.", Figure<&F::epoch>},
      {"trainer_remaining_seconds", kGauge, "seconds", "", "Expected time to the last step.",
       Figure<&F::seconds_left>},

      // What it learns. Means are over the steps of the last log interval.
      {"trainer_loss", kGauge, "nats", "", "Training loss, the mean of the interval.", Figure<&F::loss>},
      {"trainer_accuracy_ratio", kGauge, "0 to 1", "", "Training accuracy, the mean of the interval.",
       Figure<&F::accuracy>},
      {"trainer_valid_loss", kGauge, "nats", "", "Loss of the last validation.", Figure<&F::valid_loss>},
      {"trainer_valid_accuracy_ratio", kGauge, "0 to 1", "", "Accuracy of the last validation.",
       Figure<&F::valid_accuracy>},
      {"trainer_learning_rate", kGauge, "1", "", "Learning rate of the last step.",
       Figure<&F::learning_rate>},
      {"trainer_gradient_norm", kGauge, "1", "", "Norm of the last step's gradient, before clipping.",
       Figure<&F::gradient_norm>},
      {"trainer_weight_norm", kGauge, "1", "", "Norm of all weights after the last step.",
       Figure<&F::weight_norm>},
      {"trainer_update_norm", kGauge, "1", "", "Norm of what the last step added to the weights.",
       Figure<&F::update_norm>},

      // How fast it is.
      {"trainer_step_seconds", kGauge, "seconds", "", "A step's mean time in the interval.",
       Figure<&F::step_seconds>},
      {"trainer_step_phase_seconds", kGauge, "seconds", "phase",
       "A step's mean time in each phase, on rank 0, in the interval.",
       [](const RunView& run, Samples& samples) {
         if (!run.figures) return;
         for (size_t i = 0; i < kPhases; ++i) {
           samples.Add(run.figures->phase_seconds[i], {{"phase", kPhaseNames[i]}});
         }
       }},
      {"trainer_phase_seconds_total", kCounter, "seconds", "phase",
       "Time spent in each phase by rank 0 since this start; rate() of it is the phase's share of the time.",
       [](const RunView& run, Samples& samples) {
         for (size_t i = 0; i < kPhases; ++i) {
           samples.Add(run.totals.phase_seconds[i], {{"phase", kPhaseNames[i]}});
         }
       }},
      {"trainer_utterances_per_second", kGauge, "utterances per second", "",
       "Utterances trained on by all ranks.", Figure<&F::utterances_per_second>},
      {"trainer_frames_per_second", kGauge, "frames per second", "", "Frames trained on by all ranks.",
       Figure<&F::frames_per_second>},
      {"trainer_audio_seconds_per_second", kGauge, "1", "",
       "Seconds of audio trained on in a second by all ranks: how many times faster than real time.",
       [](const RunView& run, Samples& samples) {
         if (run.figures) samples.Add(3600 * run.figures->audio_hours_per_second);
       }},
      {"trainer_step_flops", kGauge, "FLOPs", "",
       "Floating-point operations of a step, on all ranks together.", Figure<&F::flops_per_step>},
      {"trainer_model_flops_utilization_ratio", kGauge, "0 to 1", "",
       "MFU: what part of the devices' peak speed the model's operations make; absent where the peak is not "
       "known.",
       Figure<&F::model_flops_utilization>},
      {"trainer_step_reduced_bytes", kGauge, "bytes", "", "Gradient bytes that a step all-reduces.",
       Figure<&F::reduced_bytes>},
      {"trainer_bus_bandwidth_bytes_per_second", kGauge, "bytes per second", "",
       "Bus bandwidth of the all-reduces: reduced bytes * 2 (n - 1) / n over the time that they took, with n "
       "ranks.",
       Figure<&F::bus_bandwidth_bytes_per_second>},

      // What has happened.
      {"trainer_steps_total", kCounter, "steps", "", "Steps done, since this start.", Total<&T::steps>},
      {"trainer_utterances_total", kCounter, "utterances", "", "Utterances trained on, since this start.",
       Total<&T::utterances>},
      {"trainer_frames_total", kCounter, "frames", "", "Frames trained on, since this start.",
       Total<&T::frames>},
      {"trainer_reduced_bytes_total", kCounter, "bytes", "", "Bytes all-reduced by rank 0, since this start.",
       Total<&T::reduced_bytes>},
      {"trainer_checkpoints_total", kCounter, "checkpoints", "", "Checkpoints saved, since this start.",
       Total<&T::checkpoints>},
      {"trainer_checkpoint_stall_seconds", kGauge, "seconds", "",
       "Time that training waited for the last checkpoint; absent before the first, as the next one.",
       TotalFigure<&T::checkpoint_stall_seconds>},
      {"trainer_checkpoint_write_seconds", kGauge, "seconds", "",
       "Time that the last checkpoint took to write, beside training unless checkpoint.async is off.",
       TotalFigure<&T::checkpoint_write_seconds>},
      {"trainer_resumes_total", kCounter, "starts", "", "Starts that went on from a checkpoint.",
       Total<&T::resumes>},
      {"trainer_restarts_total", kCounter, "starts", "", "Restarts by the launcher.", Total<&T::restarts>},
      {"trainer_stop_signals_total", kCounter, "signals", "",
       "Stop signals that a rank got, since this start.", Total<&T::signals>},
      {"trainer_nonfinite_steps_total", kCounter, "steps", "",
       "Steps whose loss or gradient was no finite number, since this start.", Total<&T::nonfinite_steps>},
      {"trainer_skipped_utterances", kGauge, "utterances", "",
       "Unreadable utterances that were left out when the data set was made.", Total<&T::skipped_utterances>},

      // Each rank, as gathered once a log interval; these arrive one interval late.
      {"trainer_rank_info", kGauge, "1", "rank, host", "Always 1; says on which host a rank runs.",
       [](const RunView& run, Samples& samples) {
         ForEachRank(run, [&](size_t i, const std::string& number, const RankFigures&) {
           samples.Add(1, {{"rank", number}, {"host", run.figures->ranks->hosts.at(i)}});
         });
       }},
      {"trainer_rank_figures_step", kGauge, "steps", "", "The step that the ranks' figures below are of.",
       [](const RunView& run, Samples& samples) {
         if (run.figures && run.figures->ranks) samples.Add(static_cast<double>(run.figures->ranks->step));
       }},
      {"trainer_rank_step_seconds", kGauge, "seconds", "rank",
       "A step's mean time; about equal on all ranks, as they wait for each other.",
       EachRank<&R::step_seconds>},
      {"trainer_rank_busy_seconds", kGauge, "seconds", "rank",
       "A step's mean time without waiting for other ranks: what tells a slow rank from those that wait for "
       "it.",
       [](const RunView& run, Samples& samples) {
         ForEachRank(run, [&](size_t, const std::string& number, const RankFigures& rank) {
           samples.Add(rank.BusySeconds(), {{"rank", number}});
         });
       }},
      {"trainer_rank_phase_seconds", kGauge, "seconds", "rank, phase", "A step's mean time in each phase.",
       [](const RunView& run, Samples& samples) {
         ForEachRank(run, [&](size_t, const std::string& number, const RankFigures& rank) {
           for (size_t i = 0; i < kPhases; ++i) {
             samples.Add(rank.phase_seconds[i], {{"rank", number}, {"phase", kPhaseNames[i]}});
           }
         });
       }},
      {"trainer_straggler_ratio", kGauge, "1", "rank, host",
       "Busy time of the slowest rank, which the labels name, over the median rank's; 1 where all are alike.",
       [](const RunView& run, Samples& samples) {
         if (!run.figures || !run.figures->ranks || run.figures->ranks->ranks.empty()) return;
         const auto busy = run.figures->ranks->Busy();
         if (busy.median <= 0) return;
         samples.Add(busy.max / busy.median,
                     {{"rank", absl::StrCat(busy.max_rank)},
                      {"host", run.figures->ranks->hosts.at(static_cast<size_t>(busy.max_rank))}});
       }},
      {"trainer_host_memory_bytes", kGauge, "bytes", "rank", "Resident memory of the rank's process.",
       EachRank<&R::host_memory_bytes>},
      {"trainer_device_memory_bytes", kGauge, "bytes", "rank",
       "The most device memory that tensors have held; absent on CPUs.", EachRank<&R::device_memory_bytes>},
      {"trainer_gpu_utilization_ratio", kGauge, "0 to 1", "rank",
       "Share of the time in which the GPU computed; this and those below are absent without a GPU.",
       EachRank<&R::gpu_utilization>},
      {"trainer_gpu_temperature_celsius", kGauge, "degrees Celsius", "rank", "Temperature of the GPU.",
       EachRank<&R::gpu_temperature_celsius>},
      {"trainer_gpu_clock_hertz", kGauge, "hertz", "rank", "Clock of the GPU's multiprocessors.",
       EachRank<&R::gpu_clock_hertz>},
      {"trainer_gpu_power_watts", kGauge, "watts", "rank", "Power that the GPU draws.",
       EachRank<&R::gpu_power_watts>},
      {"trainer_gpu_throttled", kGauge, "0 or 1", "rank", "1 where heat or power hold the GPU's clocks down.",
       EachRank<&R::gpu_throttled>},
  };
  return metrics;
}

}  // namespace

std::vector<prometheus::MetricFamily> MetricFamilies(const RunView& run) {
  std::vector<prometheus::MetricFamily> families;
  for (const Metric& metric : Metrics()) {
    prometheus::MetricFamily family{metric.name, metric.meaning, metric.type, {}};
    Samples samples(run.run, family);
    metric.read(run, samples);
    if (!family.metric.empty()) families.push_back(std::move(family));
  }
  return families;
}

std::string MetricsText(const std::vector<prometheus::MetricFamily>& families) {
  std::ostringstream text;
  prometheus::TextSerializer().Serialize(text, families);
  return text.str();
}

std::string MetricsTable() {
  std::string table = "| metric | type | unit | labels | meaning |\n|---|---|---|---|---|\n";
  for (const Metric& metric : Metrics()) {
    absl::StrAppend(&table, "| `", metric.name, "` | ", metric.type == kCounter ? "counter" : "gauge", " | ",
                    metric.unit, " | run", *metric.labels == '\0' ? "" : ", ", metric.labels, " | ",
                    metric.meaning, " |\n");
  }
  return table;
}

}  // namespace trainer::telemetry
