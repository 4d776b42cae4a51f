// How a training run saves.
//
// Note [Saving beside training]
// Rank 0 copies its state in host memory, beside the next step's forward and backward (see Note [Copying
// beside the next step]), and a thread writes the copy while training goes on. The other ranks do not wait:
// they meet rank 0 again in the next step's all-reduce. What becomes of the save only rank 0 learns. Where it
// has failed, rank 0 votes so with its next step, and all ranks end alike (see Note [Agreement]). Whoever
// ends the run waits for the save first: with all ranks where there was no error, to agree on it
// (FinishSaving), and on rank 0 alone otherwise (FinishSavingAnyhow).
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "data/status_macros.h"
#include "launcher/control.h"
#include "trainer/engine/train_loop.h"
#include "trainer/telemetry/log.h"

namespace trainer::engine {

bool TrainLoop::BestIsLost() const {
  std::error_code unknown;
  return best_ && !std::filesystem::exists(std::filesystem::path(store_.folder()) / "best", unknown) &&
         !unknown;
}

absl::Status TrainLoop::Save(bool is_best) {
  const telemetry::ScopedSpan span(tracer_.recorder(), "checkpoint", "phase");
  const StallWatch::During saving(*watch_, StallWatch::Activity::kCheckpoint);
  const Stopwatch clock;
  save_begun_ = steps_done_;
  if (rank_zero()) {
    own_error_.Update(TakeSaved(/*wait=*/true));
    const double waited = clock.Seconds();
    if (own_error_.ok()) {
      auto snapshot = snapshot_.Take(*step_);
      snapshot.state = StateToSave();
      is_best |= BestIsLost();
      folder_made_anew_ = false;
      // A run that goes on from this checkpoint will not write the lines up to here again.
      saver_.Start({steps_done_, std::move(snapshot), is_best, snapshot_.complete(),
                    [this] { recorder_->FlushToDisk(); }});
    }
    save_stall_seconds_ = clock.Seconds();
    WarnOfSlowDisk(waited);
  }
  recorder_->CountCheckpointStall(clock.Seconds());
  return config_.checkpoint.async ? absl::OkStatus() : FinishSaving();
}

void TrainLoop::FinishCopying() {
  const Stopwatch clock;
  snapshot_.Wait();
  save_stall_seconds_ += clock.Seconds();
  recorder_->CountCheckpointStall(clock.Seconds());
}

absl::Status TrainLoop::FinishSaving() {
  const StallWatch::During saving(*watch_, StallWatch::Activity::kCheckpoint);
  const Stopwatch clock;
  if (rank_zero()) {
    saver_.Wait();
    save_stall_seconds_ += clock.Seconds();
    own_error_.Update(TakeSaved(/*wait=*/true));
  }
  const auto status = launcher::AgreeOn(world_, own_error_);
  recorder_->CountCheckpointStall(clock.Seconds());
  return status;
}

void TrainLoop::FinishSavingAnyhow() {
  const StallWatch::During saving(*watch_, StallWatch::Activity::kCheckpoint);
  if (const auto saved = TakeSaved(/*wait=*/true); !saved.ok()) telemetry::Warn(std::string(saved.message()));
}

absl::Status TrainLoop::TakeSaved(bool wait) {
  while (true) {
    if (wait) saver_.Wait();
    auto saved = saver_.Take();
    if (!saved) return absl::OkStatus();
    if (saved->status.ok()) {
      saved_step_ = saved->save.step;
      stop_budget_.CountSave(saved->seconds);
      if (const auto warning = stop_budget_.TakeWarning()) telemetry::Warn(*warning);
      recorder_->CountCheckpoint({save_stall_seconds_, saved->seconds, saved->end});
      telemetry::Detail(
          absl::StrFormat("checkpoint of step %d: training stood still for %.1f ms, written in %s",
                          saved_step_, 1e3 * save_stall_seconds_, telemetry::FormatDuration(saved->seconds)));
      return absl::OkStatus();
    }
    RETURN_IF_ERROR(KeepRunFolder());
    if (!std::exchange(folder_made_anew_, false)) return saved->status;
    // Somebody has deleted the run folder meanwhile: once more, into the new one.
    saved->save.is_best |= BestIsLost();
    saver_.Start(std::move(saved->save));
  }
}

void TrainLoop::WarnOfSlowDisk(double waited_seconds) {
  constexpr double kWorthAWord = 1;
  if (waited_seconds < kWorthAWord || warned_of_slow_disk_) return;
  warned_of_slow_disk_ = true;
  telemetry::Warn(absl::StrCat("step ", steps_done_, ": training waited ",
                               telemetry::FormatDuration(waited_seconds),
                               " for the checkpoint before to be written to ", store_.folder(),
                               "; save less often (checkpoint.every), or to a faster disk (run.dir)"));
}

nlohmann::json TrainLoop::StateToSave() const {
  const auto& manifest = data_->dataset().manifest();
  nlohmann::json state = {
      {"epoch", steps_done_ / data_->batches_per_epoch()},
      {"cursor", steps_done_ % data_->batches_per_epoch() * config_.train.global_batch},
      {"global_batch", config_.train.global_batch},
      {"seed", config_.run.seed},
      {"world_size", world_.size},
      {"data_fingerprint", data_->Fingerprint()},
      {"speakers", manifest.speakers},
      {"front_end", data::FrontEndToJson(manifest.front_end)},
      {"config", config::ToJson(config_)},
  };
  if (!manifest.speeds.empty()) state["speeds"] = manifest.speeds;
  if (best_) {
    state["best"] = {{"step", best_->step}, {"accuracy", best_->accuracy}, {"loss", best_->loss}};
  }
  return state;
}

}  // namespace trainer::engine
