// What a run tells of itself while it trains: adds the steps up and, at each log line, hands one set of
// figures to all that shows them.
#pragma once

#include <torch/torch.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "launcher/communicator.h"
#include "launcher/device.h"
#include "launcher/figures_gather.h"
#include "launcher/mpi_session.h"
#include "trainer/config/config.h"
#include "trainer/engine/evaluation.h"
#include "trainer/engine/phase_clock.h"
#include "trainer/engine/step_tail.h"
#include "trainer/engine/stopwatch.h"
#include "trainer/engine/tensorboard_run.h"
#include "trainer/optim/schedule.h"
#include "trainer/telemetry/gpu_monitor.h"
#include "trainer/telemetry/metrics_file.h"
#include "trainer/telemetry/prometheus_exporter.h"
#include "trainer/telemetry/run_figures.h"
#include "trainer/telemetry/task_queue.h"

namespace trainer::engine {

// What the recorder must know of the run beforehand.
struct RecordedRun {
  launcher::World world;
  torch::Device device = torch::kCPU;
  int64_t n_mels = 0;
  int64_t n_speakers = 0;
  int64_t batches_per_epoch = 0;
  double frames_per_second = 0;  // of audio
  std::string communicator;      // its name
};

// Every rank has one. The constructor, Open and Log are called by all ranks alike; nothing in them waits for
// another rank. Rank 0 writes and shows, on a thread of its own, so that no rank waits for its disk; the
// others send it their figures. One thread calls.
class RunRecorder {
 public:
  // `folder_is_ours` (on rank 0, by the writing thread): false where run.dir was taken away, and nothing can
  // be written to it until CloseFiles and OpenFiles; see folder_is_lost.
  RunRecorder(const config::Config& config, RecordedRun run, std::function<bool()> folder_is_ours);
  // Takes the progress line away, and tells Prometheus that the run has failed where it was not closed.
  ~RunRecorder();

  // Begins after `step` steps. On rank 0 opens the files of run.dir and what Prometheus reads; `hosts`: of
  // all ranks. Errors: what the file system says, and what metrics.prometheus asks for in vain.
  absl::Status Open(int64_t step, const std::vector<std::string>& hosts);

  // On rank 0: the part of Open that concerns run.dir, once more after that folder was lost; in between
  // nothing is written to it.
  absl::Status OpenFiles(int64_t step);
  void CloseFiles();

  // The clock of step times starts here.
  void Start();

  // Counts a batch of this rank, (B, T) frames with padding.
  void CountFrames(int64_t utterances, int64_t frames);

  // The figures of one more step have arrived.
  void CountStep(const StepFigures& figures);

  // So many seconds went into what is no step: training waited for a checkpoint, or for a validation.
  void CountCheckpointStall(double seconds);
  void CountValidation(double seconds);

  // A checkpoint is complete.
  struct SavedCheckpoint {
    double stall_seconds = 0;  // training waited for it
    double write_seconds = 0;
    std::chrono::system_clock::time_point end;
  };
  void CountCheckpoint(const SavedCheckpoint& saved);

  // A log line after `step` steps, of all that was counted since the last one. `validation`: its result,
  // where one has just been made.
  void Log(int64_t step, PhaseClock& clock, launcher::Communicator& communicator,
           const EvaluationFigures* validation);

  // Returns once all that was logged is written. Any thread.
  void Flush() { writing_.Wait(); }
  // The same, and the disk has the lines of metrics.jsonl.
  void FlushToDisk();

  // Whether a log line found run.dir taken away.
  bool folder_is_lost() const { return folder_is_lost_; }
  // It was not: the files that are open are still the run's.
  void FolderIsBack() { folder_is_lost_ = false; }

  // Redraws the progress line, a few times a second at most.
  void ShowProgress(int64_t step);

  // What else is shown by TensorBoard; null on other ranks, and where metrics.tensorboard is off.
  TensorBoardRun* tensorboard() { return tensorboard_ ? &*tensorboard_ : nullptr; }

  // Waits for what is still on its way to rank 0 and to a Pushgateway. By all ranks, at the end of a run
  // without an error.
  void Close(telemetry::RunState state);

 private:
  struct Interval {
    int64_t steps = 0;
    double loss = 0, correct = 0;  // sums
    StepFigures last;
    double frames = 0;  // of this rank
    telemetry::PhaseSeconds phase_seconds{};
    Stopwatch clock;

    // Seconds a step, without what was none.
    double StepSeconds() const;
  };

  telemetry::RankFigures OwnFigures() const;
  telemetry::IntervalFigures MakeFigures(int64_t step, double reduced_bytes, double reduce_seconds) const;
  void TakeRanks(bool wait);
  void Write(const telemetry::IntervalFigures& figures);
  absl::Status WriteStart(int64_t step);
  absl::Status StartPrometheus();
  bool rank_zero() const { return run_.world.rank == 0; }

  const config::Config& config_;
  RecordedRun run_;
  optim::Schedule schedule_;
  launcher::GpuFacts gpu_;
  telemetry::GpuMonitor gpu_monitor_;
  std::optional<double> peak_flops_;  // of all ranks' devices together
  launcher::FiguresGather gather_;
  std::vector<std::string> hosts_;
  std::optional<telemetry::RanksFigures> ranks_;  // the newest that have arrived
  int64_t gathered_step_ = 0;                     // of those that are on their way
  telemetry::RunTotals totals_;
  Interval interval_;
  double last_step_seconds_ = 0;  // a step of the last interval; 0: there was none

  telemetry::TaskQueue writing_;
  std::optional<telemetry::MetricsFile> metrics_;  // the queue's, like what follows it
  bool warned_of_metrics_ = false;
  std::function<bool()> folder_is_ours_;
  std::atomic<bool> folder_is_lost_ = false;
  std::optional<TensorBoardRun> tensorboard_;
  std::unique_ptr<telemetry::PrometheusExporter> prometheus_;
  int columns_ = 0;         // of the progress line; 0: none
  double own_seconds_ = 0;  // spent here since the last log line's figures were made
  double wait_share_ = 0;   // for data, in the last interval
  Stopwatch since_progress_;
};

}  // namespace trainer::engine
