// How a training run begins: the world, the data and the model are set up, and a run that was there before is
// taken up again.
#include <cstdlib>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "data/status_macros.h"
#include "launcher/control.h"
#include "launcher/device.h"
#include "trainer/engine/run_setup.h"
#include "trainer/engine/staged_data.h"
#include "trainer/engine/train_loop.h"
#include "trainer/telemetry/log.h"
#include "trainer/version.h"

namespace trainer::engine {
namespace {
namespace fs = std::filesystem;

// For the lock of the run folder. NFS keeps that of a host that is lost for a minute and a half.
constexpr double kAgainSeconds = 150;
constexpr double kShortSeconds = 3;
constexpr double kWorthAWordSeconds = 1;

// By the program `launcher` or by SLURM, after a start that may have left something behind.
bool WasStartedAgain() {
  for (const char* variable : {"TRAINER_RESTARTS", "SLURM_RESTART_COUNT"}) {
    if (const char* count = std::getenv(variable); count != nullptr && std::atoi(count) > 0) return true;
  }
  return false;
}

}  // namespace

absl::Status TrainLoop::SetUp() {
  std::vector<launcher::RankCores> cores;
  ASSIGN_OR_RETURN(device_, launcher::BindDevice(world_,
                                                 {.requested = config_.train.device,
                                                  .threads = static_cast<int>(config_.train.threads),
                                                  .bind = config_.train.bind == "auto"},
                                                 &cores));

  ASSIGN_OR_RETURN(const StagedData staged,
                   StageData(config_, world_, stop_, [this] { watch_->Progress(); }));
  auto data = TrainingData::Open(config_, world_, staged.folder);
  RETURN_IF_ERROR(launcher::AgreeOn(world_, data.status()));
  data_.emplace(*std::move(data));
  RETURN_IF_ERROR(launcher::AgreeOn(world_, PrepareRunFolder()));

  const auto& manifest = data_->dataset().manifest();
  auto model = MakeRunModel(config_, *data_);
  model->to(device_);

  communicator_ = launcher::MakeCommunicator(world_, device_);
  const auto options = StepOptionsOf(config_, world_, device_);
  step_ = std::make_unique<TrainStep>(std::move(model), *communicator_, world_, options);
  watch_->Follow(step_->clock(), *communicator_);

  RecordedRun run;
  run.world = world_;
  run.device = device_;
  run.n_mels = manifest.front_end.n_mels;
  run.n_speakers = static_cast<int64_t>(manifest.speakers.size());
  run.batches_per_epoch = data_->batches_per_epoch();
  run.frames_per_second = manifest.front_end.frames_per_second();
  run.communicator = communicator_->name();
  recorder_.emplace(config_, std::move(run), [this] { return !run_lock_.IsLost(); });

  telemetry::Info(absl::StrCat(kVersionLine, ": ", world_.size, " ranks on ", device_.str(), " (",
                               communicator_->name(), "), ", at::get_num_threads(), " threads each, ",
                               options.kernels.precision == kernels::Precision::kBFloat16 ? "bf16" : "fp32",
                               "; ", launcher::SummariseCores(cores)));
  TellOfCores(cores);
  if (!staged.summary.empty()) telemetry::Info(staged.summary);
  telemetry::Info(absl::StrCat("data ", config_.data.path, ": ", manifest.speakers.size(), " speakers, ",
                               data_->train_utterances(), " training utterances (",
                               data_->batches_per_epoch(), " batches of ", config_.train.global_batch,
                               " an epoch), ", data_->valid_utterances(), " for validation"));
  int64_t parameters = 0;
  for (const auto& slot : step_->parameters().slots()) parameters += slot.size;
  telemetry::Info(absl::StrCat("model ", config_.model.type, ": ", parameters, " parameters; run folder ",
                               config_.run.dir));
  if (!data_->has_validation() && rank_zero()) {
    telemetry::Warn(absl::StrCat(config_.data.path, " has no split '", config_.data.valid_split,
                                 "': nothing is validated, and checkpoints/best is the last checkpoint"));
  }
  return absl::OkStatus();
}

absl::Status TrainLoop::LockRunFolder(double patience_seconds) {
  RunLock::Taking taking;
  taking.seconds = patience_seconds;
  const Stopwatch clock;
  bool told = false;
  taking.waiting = [&](const std::string& owner) {
    watch_->Progress();
    if (clock.Seconds() >= kWorthAWordSeconds && !std::exchange(told, true)) {
      telemetry::Info(absl::StrCat("waiting for the lock of run.dir ", config_.run.dir, owner));
    }
    return !stop_.requested();
  };
  const auto status = run_lock_.Take(config_.run.dir, taking);
  if (absl::IsFailedPrecondition(status) && patience_seconds > 0 && stop_.requested()) {
    return absl::CancelledError(
        absl::StrCat("stopped while waiting for the lock of run.dir ", config_.run.dir));
  }
  RETURN_IF_ERROR(status);
  if (!taking.warning.empty()) telemetry::Warn(taking.warning);
  return absl::OkStatus();
}

void TrainLoop::TellOfCores(const std::vector<launcher::RankCores>& cores) const {
  for (size_t rank = 0; rank < cores.size(); ++rank) {
    const auto threads = config_.train.threads > 0 ? config_.train.threads : cores[rank].share;
    telemetry::Detail(
        launcher::DescribeCores(static_cast<int>(rank), cores[rank], static_cast<int>(threads)));
  }
  if (world_.local_rank != 0) return;
  if (const auto warning = launcher::WarnOfNarrowBinding(world_, cores); !warning.empty()) {
    telemetry::Warn(warning);
  }
}

absl::Status TrainLoop::PrepareRunFolder() {
  if (!rank_zero()) return absl::OkStatus();
  ASSIGN_OR_RETURN(stop_budget_, StopBudget::FromEnvironment());
  RETURN_IF_ERROR(LockRunFolder(WasStartedAgain() ? kAgainSeconds : kShortSeconds));
  RETURN_IF_ERROR(CheckMayResume(config_, store_));
  run_lock_.Sign();
  return telemetry::AddLogFile((fs::path(config_.run.dir) / "train.log").string());
}

// On rank 0, before it writes to the run folder. Who deletes the folder of a run that trains takes all but
// what is in memory, and makes way for a second run: so it is made, locked and filled again.
absl::Status TrainLoop::KeepRunFolder() {
  if (!rank_zero()) return absl::OkStatus();
  if (!run_lock_.IsLost()) return absl::OkStatus();  // what cannot be told is for saving itself to say
  std::error_code unknown;
  const fs::path folder(config_.run.dir);
  const bool all_is_gone = run_lock_.FolderIsLost() || !fs::exists(folder / "config.yaml", unknown);
  if (all_is_gone) recorder_->CloseFiles();
  RETURN_IF_ERROR(LockRunFolder(/*patience_seconds=*/0));
  run_lock_.Sign();
  folder_made_anew_ = true;
  if (!all_is_gone) {
    telemetry::Warn(absl::StrCat(
        "run.dir ", config_.run.dir,
        "/.lock, which keeps a second run out, was deleted; it is made anew at step ", steps_done_));
    recorder_->FolderIsBack();
    return absl::OkStatus();
  }
  auto status = telemetry::AddLogFile((folder / "train.log").string());
  telemetry::Warn(absl::StrCat(
      "run.dir ", config_.run.dir, " was deleted, emptied or moved during the run; it is made anew at step ",
      steps_done_, " and the run goes on, but what it held before is gone from there"));
  status.Update(recorder_->OpenFiles(steps_done_ - 1));
  // Whether it can go on is for saving to say.
  if (!status.ok()) telemetry::Warn(std::string(status.message()));
  return absl::OkStatus();
}

absl::Status TrainLoop::Resume() {
  // Rank 0 alone reads the checkpoint, the others get it from rank 0: they need no shared file system.
  absl::Status status;
  nlohmann::json shared = {{"step", -1}};
  if (rank_zero()) {
    status = [&]() -> absl::Status {
      RETURN_IF_ERROR(store_.FinishInterrupted());
      std::vector<std::string> warnings;
      auto latest = store_.LoadLatest(&warnings);
      for (const auto& warning : warnings) telemetry::Warn(warning);
      RETURN_IF_ERROR(latest.status());
      if (!latest->has_value()) return InitialiseModel(config_, step_->model());
      const auto& loaded = **latest;
      RETURN_IF_ERROR(CheckResumable(config_, *data_, loaded.snapshot.state, loaded.folder));
      RETURN_IF_ERROR(RestoreSnapshot(loaded.snapshot, loaded.folder, loaded.step, *step_));
      shared["step"] = loaded.step;
      if (loaded.snapshot.state.contains("best")) shared["best"] = loaded.snapshot.state["best"];
      telemetry::Info(absl::StrCat("going on from step ", loaded.step, " (", loaded.folder, "), saved by ",
                                   loaded.snapshot.state.value("world_size", 0), " ranks"));
      return absl::OkStatus();
    }();
  }
  RETURN_IF_ERROR(launcher::AgreeOn(world_, status));
  shared = nlohmann::json::parse(launcher::BroadcastString(shared.dump(), 0));

  communicator_->Broadcast(step_->parameters().values(), 0);
  for (auto& item : step_->model().named_buffers()) communicator_->Broadcast(item.value(), 0);
  const int64_t step = shared["step"].get<int64_t>();
  if (step < 0) {
    step_->ResetAverage();
  } else {
    if (step_->average().defined()) communicator_->Broadcast(step_->average(), 0);
    communicator_->Broadcast(step_->optimizer().exp_avg(), 0);
    communicator_->Broadcast(step_->optimizer().exp_avg_sq(), 0);
    step_->optimizer().set_updates(step);
    steps_done_ = figures_taken_ = save_begun_ = saved_step_ = step;
    if (shared.contains("best")) {
      best_ = Best{shared["best"].value("step", int64_t{0}), shared["best"].value("accuracy", 0.0),
                   shared["best"].value("loss", 0.0)};
    }
  }
  steps_at_start_ = steps_done_;
  return launcher::AgreeOn(world_, recorder_->Open(steps_done_, launcher::AllGatherStrings(world_.host)));
}

}  // namespace trainer::engine
