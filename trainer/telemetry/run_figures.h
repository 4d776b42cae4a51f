// What is known of a run at a log line: filled by the training loop, shown by the terminal, metrics.jsonl,
// Prometheus and TensorBoard. Plain values, and the little arithmetic that all of them share.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace trainer::telemetry {

// Where a rank's time goes. The first six make up a step; the last two come between steps.
enum class Phase {
  kDataWait,              // for the loader
  kHostToDevice,          // copies of the batch
  kForward,               // with the loss
  kBackward,              // with the all-reduces that it hides
  kExposedCommunication,  // for all-reduces that backward did not hide, or for a rank that is late
  kOptimizer,
  kCheckpoint,
  kValidation,
};
inline constexpr size_t kPhases = 8;
inline constexpr std::array<const char*, kPhases> kPhaseNames = {
    "data_wait", "host_to_device", "forward",   "backward", "exposed_communication",
    "optimizer", "checkpoint",     "validation"};

// Seconds in each phase, summed over some steps.
using PhaseSeconds = std::array<double, kPhases>;

inline constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

// What rank 0 learns of each rank once a log interval. Doubles alone, as they travel in one message; those
// that are not known (no GPU, say) are no numbers.
struct RankFigures {
  PhaseSeconds phase_seconds{};           // mean a step of the interval
  double step_seconds = 0;                // mean; about equal on all ranks, as they wait for each other
  double host_memory_bytes = 0;           // resident
  double device_memory_bytes = kUnknown;  // the most that tensors have ever held
  double gpu_utilization = kUnknown;      // 0 .. 1
  double gpu_temperature_celsius = kUnknown;
  double gpu_clock_hertz = kUnknown;
  double gpu_power_watts = kUnknown;
  double gpu_throttled = kUnknown;  // 1: clocks are held down by heat or power

  // Seconds a step of the rank's own work: all that is no waiting for others. What tells a slow rank from
  // those that wait for it.
  double BusySeconds() const;
};

struct Spread {
  double min = 0, median = 0, max = 0;
  int64_t max_rank = 0;  // the lowest one of those that have the maximum
};

// One figure of every rank, of which at least one; numbers only.
Spread SpreadOf(const std::vector<double>& values);

// All ranks at one log line. They arrive when all have reported, so one log line late.
struct RanksFigures {
  int64_t step = 0;
  std::vector<RankFigures> ranks;
  std::vector<std::string> hosts;  // as many

  Spread Busy() const;
};

// Counted since this start, but for resumes and restarts, which count all there were.
struct RunTotals {
  int64_t steps = 0;
  int64_t utterances = 0;
  double frames = 0;
  double reduced_bytes = 0;        // by this rank
  PhaseSeconds phase_seconds{};    // of rank 0
  int64_t resumes = 0;             // starts that went on from a checkpoint
  int64_t restarts = 0;            // by the launcher
  int64_t signals = 0;             // stop signals that some rank got
  int64_t nonfinite_steps = 0;     // whose loss or gradient was no number
  int64_t checkpoints = 0;         // saved
  int64_t skipped_utterances = 0;  // of the data set, as the extraction that made it reported
  double last_step_unix_seconds = 0;
  double last_checkpoint_unix_seconds = 0;         // 0: none yet
  std::optional<double> checkpoint_stall_seconds;  // of the last one: training waited for it
  std::optional<double> checkpoint_write_seconds;  // of the last one: it took to write
};

// One log interval, as rank 0 knows it. Means are over the interval's steps.
struct IntervalFigures {
  int64_t step = 0;  // the last one of the interval, counted from 1
  int64_t total_steps = 0;
  int64_t epoch = 0;
  double unix_seconds = 0;
  double loss = 0;
  double accuracy = 0;       // 0 .. 1, on logits without margin
  double gradient_norm = 0;  // of the last step, before clipping
  double learning_rate = 0;
  double weight_norm = 0;  // of the last step
  double update_norm = 0;  // by how much the last step moved the weights
  double step_seconds = 0;
  PhaseSeconds phase_seconds{};  // a step, of rank 0
  double utterances_per_second = 0;
  double frames_per_second = 0;
  double audio_hours_per_second = 0;
  double reduced_bytes = 0;  // a step
  double bus_bandwidth_bytes_per_second =
      0;                      // reduced bytes * 2 (n - 1) / n over the time that all-reduces took
  double flops_per_step = 0;  // of all ranks together
  std::optional<double> model_flops_utilization;  // absent where the devices' peak is not known
  double recording_seconds = 0;  // a step, of rank 0's time between steps: what it took to tell all this
  double seconds_left = 0;
  std::optional<double> valid_loss, valid_accuracy;  // where this line follows a validation
  std::optional<RanksFigures> ranks;                 // the newest that has arrived
  RunTotals totals;
};

// The line of metrics.jsonl: the names above, phases as <phase>_seconds; of the ranks the spread of their own
// work
// ("busy_seconds": {min, median, max}), "slowest_rank" and "slowest_host", and the largest memories. No key
// for what is absent.
nlohmann::ordered_json ToJson(const IntervalFigures& figures);

}  // namespace trainer::telemetry
