// A whole run on one rank: set up, resume, train, validate, save, stop.
#pragma once

#include <torch/torch.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "launcher/communicator.h"
#include "launcher/cores.h"
#include "launcher/mpi_session.h"
#include "launcher/stop_signals.h"
#include "trainer/checkpoint/background_saver.h"
#include "trainer/checkpoint/checkpoint_store.h"
#include "trainer/config/config.h"
#include "trainer/engine/evaluation.h"
#include "trainer/engine/run_lock.h"
#include "trainer/engine/run_recorder.h"
#include "trainer/engine/snapshot.h"
#include "trainer/engine/stall_watch.h"
#include "trainer/engine/step_tracer.h"
#include "trainer/engine/stop_budget.h"
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
// shares the outcome of. One thread, besides the loader's, the communicator's and those that copy and save.
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
  void TellOfCores(const std::vector<launcher::RankCores>& cores) const;
  absl::Status PrepareRunFolder();
  absl::Status LockRunFolder(double patience_seconds);
  absl::Status KeepRunFolder();
  absl::Status Resume();
  absl::StatusOr<RunEnd> Loop();
  absl::Status RunStep(data::TrainLoader& loader);
  absl::Status TakeFigures(bool flush);
  absl::Status Validate();
  // Whether the best checkpoint was deleted, with the run folder say: then the next one takes its place.
  bool BestIsLost() const;
  // Begins to save; on rank 0 that waits for the save before, if it is still being written.
  absl::Status Save(bool is_best);
  // Waits until the state to save is copied: before anything changes it. Not collective.
  void FinishCopying();
  // Waits for what is being saved, and agrees on what became of it.
  absl::Status FinishSaving();
  // Takes note of a save that is over, if there is one; `wait`: if there is one at all. Not collective.
  absl::Status TakeSaved(bool wait);
  // Waits for what is being saved, where the run ends by another error. Not collective.
  void FinishSavingAnyhow();
  void WarnOfSlowDisk(double waited_seconds);
  nlohmann::json StateToSave() const;
  void FinishTensorBoard();
  absl::Status WriteSummary(const std::string& end);
  bool rank_zero() const { return world_.rank == 0; }
  // After steps_done_ steps, of which every so many are meant; always after the last one.
  bool IsDue(int64_t every) const;
  bool MustLog() const { return IsDue(config_.train.log_every); }
  bool MustValidate() const { return data_->has_validation() && IsDue(config_.train.validate_every); }
  bool SavesBeforeTheEnd() const {
    return config_.checkpoint.every > 0 || (data_->has_validation() && config_.train.validate_every > 0);
  }

  config::Config config_;
  launcher::World world_;
  const launcher::StopSignals& stop_;
  torch::Device device_ = torch::kCPU;
  std::optional<StallWatch> watch_;  // while Run() lasts; before all that it follows
  StepTracer tracer_;                // likewise
  std::optional<TrainingData> data_;
  std::unique_ptr<launcher::Communicator> communicator_;
  std::unique_ptr<TrainStep> step_;
  optim::Schedule schedule_;
  RunLock run_lock_;  // rank 0: no second run writes to run.dir; held until the last save is over
  std::optional<RunRecorder> recorder_;  // before saver_, whose thread waits for it
  checkpoint::CheckpointStore store_;
  SnapshotBuffer snapshot_;            // rank 0
  checkpoint::BackgroundSaver saver_;  // rank 0; writes from snapshot_ to store_

  struct Best {
    int64_t step = 0;
    double accuracy = 0, loss = 0;
  };
  int64_t steps_done_ = 0;
  int64_t steps_at_start_ = 0;
  int64_t figures_taken_ = 0;      // steps whose figures have arrived
  int64_t save_begun_ = -1;        // the step of the newest save, which may have to be written yet
  int64_t saved_step_ = -1;        // rank 0: of the newest checkpoint
  double save_stall_seconds_ = 0;  // of the newest save: what training waited
  bool warned_of_slow_disk_ = false;
  StopBudget stop_budget_;  // rank 0
  bool stop_agreed_ = false;
  std::optional<Best> best_;
  bool folder_made_anew_ = false;                // since the latest save was begun
  std::optional<EvaluationFigures> validation_;  // the latest
  absl::Status own_error_;                       // of this rank: votes, and then agrees on it
  Stopwatch run_clock_;
};

}  // namespace trainer::engine
