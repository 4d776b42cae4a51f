// The TensorBoard side of a training run: what is written at which moment, and that a failure of it costs a
// warning, never the run.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "trainer/config/config.h"
#include "trainer/engine/tensorboard_media.h"
#include "trainer/telemetry/run_figures.h"
#include "trainer/telemetry/task_queue.h"
#include "trainer/telemetry/tensorboard_writer.h"

namespace trainer::engine {

// On rank 0, in one thread; what is written to the disk is written by `queue`, for which nobody waits.
// Failures, a full disk say, are warned of once; later writes are tried nevertheless.
class TensorBoardRun {
 public:
  // Begins an event file in run.dir/tensorboard, which starts with the configuration. `last_step`: the run
  // goes on after it; 0 for a new run. `queue` must outlive it.
  // `may_write`, asked by the queue's thread: false where the folder is lost.
  TensorBoardRun(const config::Config& config, int64_t last_step, telemetry::TaskQueue& queue,
                 std::function<bool()> may_write);
  ~TensorBoardRun() { queue_.Wait(); }
  TensorBoardRun(const TensorBoardRun&) = delete;
  TensorBoardRun& operator=(const TensorBoardRun&) = delete;

  void Log(const telemetry::IntervalFigures& figures);

  // After the step `step`; see HistogramsOf. Takes as long as two copies of the parameters. Left out while
  // those of an earlier step still wait, for a disk that hangs say, but not after the `last` step.
  void ShowParameters(const optim::FlatParameters& parameters, int64_t step, bool last);

  // See Predict and PicturesOf; draws on the queue's thread.
  void ShowPredictions(model::Classifier& model, torch::Device device, const TrainingData& data,
                       int64_t step);

  struct FinalFigures {
    std::optional<double> valid_loss, valid_accuracy, best_valid_accuracy;
  };
  // The run has done all its steps, of which `step` is the last.
  void Finish(const FinalFigures& figures, int64_t step);

  // Warns of what failed, once. Any thread.
  void Check(const absl::Status& status);

  const std::string& folder() const { return folder_; }

 private:
  void Write(telemetry::Summary summary, int64_t step);

  std::string folder_;
  telemetry::TaskQueue& queue_;
  const std::function<bool()> may_write_;
  std::optional<telemetry::TensorBoardWriter> writer_;  // the queue's; none where it could not be opened
  std::atomic<bool> histograms_wait_ = false;
  std::atomic<bool> warned_ = false;
};

}  // namespace trainer::engine
