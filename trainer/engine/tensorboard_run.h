// The TensorBoard side of a training run: what is written at which moment, and that a failure of it costs a
// warning, never the run.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "trainer/config/config.h"
#include "trainer/engine/tensorboard_media.h"
#include "trainer/telemetry/run_figures.h"
#include "trainer/telemetry/tensorboard_writer.h"

namespace trainer::engine {

// On rank 0, in one thread. Failures, a full disk say, are warned of once; later writes are tried
// nevertheless.
class TensorBoardRun {
 public:
  // Begins an event file in run.dir/tensorboard, which starts with the configuration. `last_step`: the run
  // goes on after it; 0 for a new run.
  TensorBoardRun(const config::Config& config, int64_t last_step);

  void Log(const telemetry::IntervalFigures& figures);

  // After the step `step`; see HistogramsOf.
  void ShowParameters(const optim::FlatParameters& parameters, int64_t step);

  // See PredictionsOf.
  void ShowPredictions(model::Classifier& model, torch::Device device, const TrainingData& data,
                       int64_t step);

  struct FinalFigures {
    std::optional<double> valid_loss, valid_accuracy, best_valid_accuracy;
  };
  // The run has done all its steps, of which `step` is the last.
  void Finish(const FinalFigures& figures, int64_t step);

  // Warns of what failed, once.
  void Check(const absl::Status& status);

  const std::string& folder() const { return folder_; }

 private:
  void Write(const telemetry::Summary& summary, int64_t step);

  std::string folder_;
  std::optional<telemetry::TensorBoardWriter> writer_;  // none where it could not be opened
  bool warned_ = false;
};

}  // namespace trainer::engine
