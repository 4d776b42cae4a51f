#include "trainer/engine/train_loop.h"

#include <cmath>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "data/files.h"
#include "data/status_macros.h"
#include "launcher/control.h"
#include "trainer/engine/run_setup.h"
#include "trainer/telemetry/log.h"

namespace trainer::engine {
namespace {

namespace fs = std::filesystem;

}  // namespace

TrainLoop::TrainLoop(config::Config config, launcher::World world, const launcher::StopSignals& stop,
                     TraceOptions trace)
    : config_(std::move(config)),
      world_(std::move(world)),
      stop_(stop),
      tracer_(std::move(trace), world_),
      schedule_{config_.optimizer.lr, config_.schedule.warmup_steps, config_.schedule.total_steps,
                config_.schedule.cycles},
      store_(config_.run.dir, config_.checkpoint.keep),
      saver_(store_) {
  store_.Guard([this] { return !run_lock_.IsLost(); });
}

TrainLoop::~TrainLoop() {
  if (watch_) watch_->Release();
}

absl::StatusOr<RunEnd> TrainLoop::Run() {
  watch_.emplace(config_, world_);
  if (const auto status = SetUp(); absl::IsCancelled(status)) {
    telemetry::Info(absl::StrCat(status.message(), "; run the same command again to go on"));
    return RunEnd::kStopped;
  } else if (!status.ok()) {
    return status;
  }
  watch_->Enter(StallWatch::Activity::kResume);
  RETURN_IF_ERROR(Resume());
  auto end = Loop();
  watch_->Enter(StallWatch::Activity::kEnd);
  if (!end.ok()) FinishSavingAnyhow();
  if (end.ok()) {
    recorder_->Close(*end == RunEnd::kFinished ? telemetry::RunState::kFinished
                                               : telemetry::RunState::kStopped);
  }
  if (end.ok() && steps_done_ > steps_at_start_) {
    tracer_.Finish(steps_done_ - steps_at_start_, step_->clock(), *communicator_);
    if (*end == RunEnd::kFinished && config_.metrics.tensorboard) FinishTensorBoard();
    RETURN_IF_ERROR(
        launcher::AgreeOn(world_, WriteSummary(*end == RunEnd::kFinished ? "finished" : "stopped")));
  }
  return end;
}

absl::StatusOr<RunEnd> TrainLoop::Loop() {
  const int64_t total = config_.schedule.total_steps;
  if (steps_done_ >= total) {
    telemetry::Info(absl::StrCat("all ", total,
                                 " steps are done already; set schedule.total_steps higher to train on, "
                                 "or another run.dir to start anew"));
    return RunEnd::kFinished;
  }
  const auto loader = data_->MakeTrainLoader(steps_done_, device_.is_cuda(), tracer_.ForLoader());
  run_clock_.Restart();
  recorder_->Start();
  while (steps_done_ < total) {
    tracer_.BeforeStep(steps_done_ + 1 - steps_at_start_, step_->clock(), *communicator_);
    const Stopwatch step_clock;
    RETURN_IF_ERROR(RunStep(*loader));
    const bool validate = MustValidate();
    const bool save = IsDue(config_.checkpoint.every);
    const bool log = MustLog();
    // Before anything is kept, all figures must be in: a checkpoint never holds the parameters of a diverged
    // step.
    RETURN_IF_ERROR(TakeFigures(/*flush=*/validate || save || log));
    // The first step of a start is not like the others.
    if (steps_done_ > steps_at_start_ + 1) stop_budget_.CountStep(step_clock.Seconds());
    recorder_->ShowProgress(steps_done_);
    // After the first step, which it would delay.
    if (rank_zero() && SavesBeforeTheEnd() && steps_done_ == steps_at_start_ + 1) snapshot_.Prepare(*step_);
    // What is wrong with it is for saving to say.
    if (recorder_->folder_is_lost()) KeepRunFolder().IgnoreError();
    if (log && !validate) recorder_->Log(steps_done_, step_->clock(), *communicator_, nullptr);
    if (validate) RETURN_IF_ERROR(Validate());
    if (save || stop_agreed_) {
      RETURN_IF_ERROR(TakeFigures(/*flush=*/true));
      if (save_begun_ != steps_done_) RETURN_IF_ERROR(Save(/*is_best=*/!data_->has_validation()));
    }
    if (stop_agreed_ || steps_done_ == total) {
      RETURN_IF_ERROR(FinishSaving());
      recorder_->Flush();  // the last line is about the end
    }
    if (stop_agreed_ && steps_done_ < total) {
      telemetry::Info(absl::StrCat("stopped on request at step ", steps_done_, ", which is saved in ",
                                   store_.folder(), "; run the same command again to go on"));
      return RunEnd::kStopped;
    }
    tracer_.AfterStep(steps_done_ - steps_at_start_, step_->clock(), *communicator_);
  }
  telemetry::Info(absl::StrCat("finished ", total, " steps in ",
                               telemetry::FormatDuration(run_clock_.Seconds()), "; results in ",
                               config_.run.dir));
  return RunEnd::kFinished;
}

bool TrainLoop::IsDue(int64_t every) const {
  return steps_done_ == config_.schedule.total_steps || (every > 0 && steps_done_ % every == 0);
}

absl::Status TrainLoop::RunStep(data::TrainLoader& loader) {
  const telemetry::ScopedSpan span(tracer_.recorder(), absl::StrCat("step ", steps_done_ + 1), "step");
  watch_->BeginStep(steps_done_ + 1);
  step_->Begin(steps_done_);
  if (stop_.requested()) step_->VoteStop();
  own_error_.Update(TakeSaved(/*wait=*/false));
  if (!own_error_.ok()) step_->VoteFailed();
  for (int64_t micro = 0; micro < config_.train.accumulate; ++micro) {
    watch_->BeginMicroBatch(micro);
    step_->WaitForCopies();
    step_->clock().Enter(telemetry::Phase::kDataWait);
    const auto batch = loader.Next();
    if (!batch.ok()) {
      own_error_.Update(batch.status());
      step_->VoteFailed();
      if (!step_->needs_every_rank()) break;
      for (; micro < config_.train.accumulate; ++micro) {
        step_->AddMicroBatch(SilentBatch(config_, world_, data_->dataset().n_mels()),
                             micro + 1 == config_.train.accumulate);
      }
      break;
    }
    recorder_->CountFrames((*batch)->mels.size(0), (*batch)->mels.size(1));
    step_->AddMicroBatch(**batch, micro + 1 == config_.train.accumulate);
  }
  const double rate = schedule_.LearningRate(steps_done_);
  ++steps_done_;
  FinishCopying();
  step_->Finish(rate, /*measure_norms=*/MustLog() || MustValidate());
  return absl::OkStatus();
}

absl::Status TrainLoop::TakeFigures(bool flush) {
  const StallWatch::During waiting(*watch_, StallWatch::Activity::kDeviceWait);
  while (const auto figures = step_->TakeFigures(flush)) {
    ++figures_taken_;
    recorder_->CountStep(*figures);
    stop_agreed_ = stop_agreed_ || figures->stop;
    // A failure somewhere is known to all by now, its cause only where it happened: agree on the words.
    if (figures->failed) return launcher::AgreeOn(world_, own_error_);
    if (!std::isfinite(figures->loss) || !std::isfinite(figures->gradient_norm)) {
      recorder_->Log(figures_taken_, step_->clock(), *communicator_, nullptr);
      FinishSavingAnyhow();  // to be able to say which is the last checkpoint
      // abs: the sign of a NaN says nothing.
      return absl::AbortedError(
          absl::StrFormat("step %d: the loss is %g and the gradient norm %g, so the run has diverged; %s. "
                          "Lower optimizer.lr, lengthen "
                          "schedule.warmup_steps or set optimizer.clip_norm (1.0, say), then run it again",
                          figures_taken_, std::abs(figures->loss), std::abs(figures->gradient_norm),
                          saved_step_ < 0 ? "there is no checkpoint yet"
                                          : absl::StrCat("the last checkpoint is of step ", saved_step_)));
    }
    // Other traces of progress may be many steps apart: the program `launcher` looks for this one.
    if (figures_taken_ == steps_at_start_ + 1) {
      watch_->FirstStepDone();
      telemetry::Info(absl::StrCat("first step (", figures_taken_, ") done after ",
                                   telemetry::FormatDuration(run_clock_.Seconds())));
    }
  }
  return absl::OkStatus();
}

absl::Status TrainLoop::Validate() {
  const telemetry::ScopedSpan span(tracer_.recorder(), "validation", "phase");
  const StallWatch::During validating(*watch_, StallWatch::Activity::kValidation);
  const Stopwatch clock;
  const uint64_t hash = step_->parameters().Hash();
  if (!launcher::AllEqual(hash)) {
    return absl::InternalError(absl::StrCat(
        "step ", steps_done_,
        ": the ranks' parameters differ, although every rank "
        "made the same updates; let all ranks run on processors of one kind, and check memory and "
        "network of the hosts"));
  }
  const auto loader = data_->MakeValidationLoader(device_.is_cuda());
  FinishCopying();
  step_->SwapAverage();
  const auto figures =
      Evaluate(world_, step_->model(), device_, *loader, kDefaultMaxFrames, [this] { watch_->Progress(); });
  if (auto* board = recorder_->tensorboard(); board != nullptr && figures.ok()) {
    board->ShowPredictions(step_->model(), device_, *data_, steps_done_);
  }
  step_->SwapAverage();
  RETURN_IF_ERROR(figures.status());
  if (auto* board = recorder_->tensorboard()) {
    board->ShowParameters(step_->parameters(), steps_done_,
                          /*last=*/steps_done_ == config_.schedule.total_steps);
  }
  validation_ = *figures;
  const bool is_best = !best_ || validation_->accuracy > best_->accuracy ||
                       (validation_->accuracy == best_->accuracy && validation_->loss < best_->loss);
  if (is_best) best_ = Best{steps_done_, validation_->accuracy, validation_->loss};
  stop_budget_.CountValidation(clock.Seconds());
  recorder_->CountValidation(clock.Seconds());
  recorder_->Log(steps_done_, step_->clock(), *communicator_, &*validation_);
  return is_best ? Save(/*is_best=*/true) : absl::OkStatus();
}

void TrainLoop::FinishTensorBoard() {
  absl::Status embeddings;
  if (data_->has_validation()) {
    step_->SwapAverage();
    const auto folder = fs::path(config_.run.dir) / "tensorboard";
    embeddings = WriteEmbeddings(world_, step_->model(), device_, *data_, folder.string());
    step_->SwapAverage();
  }
  auto* board = recorder_->tensorboard();
  if (board == nullptr) return;
  board->Check(embeddings);
  TensorBoardRun::FinalFigures figures;
  if (validation_) figures.valid_loss = validation_->loss, figures.valid_accuracy = validation_->accuracy;
  if (best_) figures.best_valid_accuracy = best_->accuracy;
  board->Finish(figures, steps_done_);
}

absl::Status TrainLoop::WriteSummary(const std::string& end) {
  if (!rank_zero()) return absl::OkStatus();
  nlohmann::ordered_json summary = {
      {"end", end},
      {"steps", steps_done_},
      {"steps_this_time", steps_done_ - steps_at_start_},
      {"seconds_this_time", run_clock_.Seconds()},
      {"world_size", world_.size},
      {"device", device_.str()},
      {"checkpoint", (fs::path(store_.folder()) / "last").string()},
  };
  if (validation_) {
    summary["valid_loss"] = validation_->loss;
    summary["valid_accuracy"] = validation_->accuracy;
  }
  if (best_)
    summary["best"] = {
        {"step", best_->step}, {"valid_accuracy", best_->accuracy}, {"valid_loss", best_->loss}};
  return data::WriteFileAtomically((fs::path(config_.run.dir) / "summary.json").string(),
                                   summary.dump(2) + "\n");
}

}  // namespace trainer::engine
