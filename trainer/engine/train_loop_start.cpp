// How a training run begins: the world, the data and the model are set up, and a run that was there before is
// taken up again.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cerrno>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "data/files.h"
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
  recorder_.emplace(config_, std::move(run));

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

// Makes it where it is not there.
absl::Status TrainLoop::LockRunFolder() {
  std::error_code error;
  fs::create_directories(config_.run.dir, error);
  if (error) {
    return absl::InvalidArgumentError(absl::StrCat("cannot create run.dir ", config_.run.dir, ": ",
                                                   error.message(), "; set run.dir to another folder"));
  }
  data::UniqueFd lock(open(config_.run.dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!lock.valid()) return data::ErrnoStatus(errno, "cannot open run.dir", config_.run.dir);
  if (flock(lock.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    return absl::FailedPreconditionError(
        absl::StrCat("another run is writing to run.dir ", config_.run.dir,
                     "; let it end first, or set run.dir to another folder"));
  }
  run_lock_ = std::move(lock);
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
  RETURN_IF_ERROR(LockRunFolder());
  RETURN_IF_ERROR(CheckMayResume(config_, store_));
  return telemetry::AddLogFile((fs::path(config_.run.dir) / "train.log").string());
}

// On rank 0, before it writes to the run folder. Who deletes the folder of a run that trains takes all but
// what is in memory, and makes way for a second run: so it is made, locked and filled again.
absl::Status TrainLoop::KeepRunFolder() {
  if (!rank_zero()) return absl::OkStatus();
  struct stat held {};
  struct stat named {};
  const bool is_there = stat(config_.run.dir.c_str(), &named) == 0;
  if (!is_there && errno != ENOENT) return absl::OkStatus();  // for saving itself to say
  if (is_there && fstat(run_lock_.get(), &held) == 0 && held.st_dev == named.st_dev &&
      held.st_ino == named.st_ino) {
    return absl::OkStatus();
  }
  run_lock_.Reset();
  recorder_->CloseFiles();
  RETURN_IF_ERROR(LockRunFolder());
  RETURN_IF_ERROR(telemetry::AddLogFile((fs::path(config_.run.dir) / "train.log").string()));
  telemetry::Warn(absl::StrCat("run.dir ", config_.run.dir,
                               " was deleted or moved during the run; it is made anew at step ", steps_done_,
                               " and the run goes on, but what it held before is gone from there"));
  best_is_lost_ = true;
  return recorder_->OpenFiles(steps_done_ - 1);
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
