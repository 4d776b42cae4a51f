// A whole run on one rank: set up, resume, train, validate, save, stop.
#pragma once

#include <torch/torch.h>

#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "data/files.h"
#include "launcher/communicator.h"
#include "launcher/mpi_session.h"
#include "launcher/stop_signals.h"
#include "trainer/checkpoint/checkpoint_store.h"
#include "trainer/config/config.h"
#include "trainer/engine/evaluation.h"
#include "trainer/engine/run_recorder.h"
#include "trainer/engine/step_tracer.h"
#include "trainer/engine/stopwatch.h"
#include "trainer/engine/train_step.h"
#include "trainer/engine/training_data.h"
#include "trainer/optim/schedule.h"

namespace trainer::engine {

// How a run ended without an error.
enum class RunEnd {
  kFinished,  // all steps are done
  kStopped,   // on request, after saving: start it again to go on
};

// Every method is collective and fails on all ranks alike (see Note [Agreement]); what rank 0 alone does, it
// shares the outcome of. One thread, besides the loader's and the communicator's.
class TrainLoop {
 public:
  // `config` is valid and has a data.path. `stop` must outlive the loop.
  TrainLoop(config::Config config, launcher::World world, const launcher::StopSignals& stop,
            TraceOptions trace = {});
  ~TrainLoop();

  // Trains to the end or to a stop. Errors: kInvalidArgument, kNotFound, kDataLoss for what the user gave
  // (data, config, checkpoints), kResourceExhausted for a full disk, kAborted for a run that diverged.
  absl::StatusOr<RunEnd> Run();

 private:
  absl::Status SetUp();
  absl::Status PrepareRunFolder();
  absl::Status LockRunFolder();
  absl::Status KeepRunFolder();
  absl::Status InitialiseModel();
  absl::Status Resume();
  absl::Status CheckResumable(const nlohmann::json& state, const std::string& folder) const;
  absl::StatusOr<RunEnd> Loop();
  absl::Status RunStep(data::TrainLoader& loader);
  data::Batch SilentBatch() const;
  absl::Status TakeFigures(bool flush);
  absl::Status Validate();
  absl::Status Save(bool is_best);
  void FinishTensorBoard();
  absl::Status WriteSummary(const std::string& end);
  bool rank_zero() const { return world_.rank == 0; }
  // After steps_done_ steps, of which every so many are meant; always after the last one.
  bool IsDue(int64_t every) const;
  bool MustLog() const { return IsDue(config_.train.log_every); }
  bool MustValidate() const { return data_->has_validation() && IsDue(config_.train.validate_every); }

  config::Config config_;
  launcher::World world_;
  const launcher::StopSignals& stop_;
  torch::Device device_ = torch::kCPU;
  StepTracer tracer_;  // before all that it observes
  std::optional<TrainingData> data_;
  std::unique_ptr<launcher::Communicator> communicator_;
  std::unique_ptr<TrainStep> step_;
  optim::Schedule schedule_;
  checkpoint::CheckpointStore store_;
  data::UniqueFd run_lock_;  // rank 0: no second run writes to run.dir
  std::optional<RunRecorder> recorder_;

  struct Best {
    int64_t step = 0;
    double accuracy = 0, loss = 0;
  };
  int64_t steps_done_ = 0;
  int64_t steps_at_start_ = 0;
  int64_t figures_taken_ = 0;  // steps whose figures have arrived
  int64_t saved_step_ = -1;    // of the newest checkpoint
  bool stop_agreed_ = false;
  std::optional<Best> best_;
  bool best_is_lost_ = false;                    // with the run folder: the next checkpoint takes its place
  std::optional<EvaluationFigures> validation_;  // the latest
  absl::Status data_error_;                      // this rank's own
  Stopwatch run_clock_;
};

}  // namespace trainer::engine
