#include "trainer/engine/train_loop.h"

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>
#include <cmath>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "data/files.h"
#include "data/status_macros.h"
#include "launcher/control.h"
#include "launcher/device.h"
#include "trainer/engine/snapshot.h"
#include "trainer/model/factory.h"
#include "trainer/telemetry/log.h"
#include "trainer/version.h"

namespace trainer::engine {
namespace {

namespace fs = std::filesystem;

}  // namespace

TrainLoop::TrainLoop(config::Config config, launcher::World world, const launcher::StopSignals& stop)
    : config_(std::move(config)),
      world_(std::move(world)),
      stop_(stop),
      schedule_{config_.optimizer.lr, config_.schedule.warmup_steps, config_.schedule.total_steps,
                config_.schedule.cycles},
      store_(config_.run.dir, config_.checkpoint.keep) {}

TrainLoop::~TrainLoop() = default;

absl::Status TrainLoop::FromRankZero(absl::Status status) const { return launcher::AgreeOn(world_, status); }

absl::StatusOr<RunEnd> TrainLoop::Run() {
  RETURN_IF_ERROR(SetUp());
  RETURN_IF_ERROR(Resume());
  auto end = Loop();
  if (end.ok() && steps_done_ > steps_at_start_) {
    RETURN_IF_ERROR(FromRankZero(WriteSummary(*end == RunEnd::kFinished ? "finished" : "stopped")));
  }
  return end;
}

absl::Status TrainLoop::SetUp() {
  ASSIGN_OR_RETURN(
      device_, launcher::BindDevice(world_, {config_.train.device, static_cast<int>(config_.train.threads)}));

  auto data = TrainingData::Open(config_, world_);
  RETURN_IF_ERROR(launcher::AgreeOn(world_, data.status()));
  data_.emplace(*std::move(data));
  RETURN_IF_ERROR(launcher::AgreeOn(world_, PrepareRunFolder()));

  const auto& manifest = data_->dataset().manifest();
  torch::manual_seed(static_cast<uint64_t>(config_.run.seed));
  auto model =
      model::MakeModel(config_, manifest.front_end.n_mels, static_cast<int64_t>(manifest.speakers.size()));
  model->to(device_);

  communicator_ = launcher::MakeCommunicator(world_, device_);
  TrainStepOptions options;
  options.seed = static_cast<uint64_t>(config_.run.seed);
  options.global_batch = config_.train.global_batch;
  options.buckets = {config_.train.first_bucket_mib, config_.train.bucket_mib};
  options.adamw = {config_.optimizer.betas[0], config_.optimizer.betas[1], config_.optimizer.eps,
                   config_.optimizer.weight_decay, config_.optimizer.clip_norm};
  options.loss = config_.loss;
  options.ema_decay = config_.train.ema_decay;
  step_ = std::make_unique<TrainStep>(std::move(model), *communicator_, world_, options);

  telemetry::Info(absl::StrCat(kVersionLine, ": ", world_.size, " ranks on ", device_.str(), " (",
                               communicator_->name(), "), ", at::get_num_threads(), " threads each"));
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

absl::Status TrainLoop::PrepareRunFolder() {
  if (!rank_zero()) return absl::OkStatus();
  std::error_code error;
  fs::create_directories(config_.run.dir, error);
  if (error) {
    return absl::InvalidArgumentError(absl::StrCat("cannot create run.dir ", config_.run.dir, ": ",
                                                   error.message(), "; set run.dir to another folder"));
  }
  run_lock_ = data::UniqueFd(open(config_.run.dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!run_lock_.valid()) return data::ErrnoStatus(errno, "cannot open run.dir", config_.run.dir);
  if (flock(run_lock_.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    return absl::FailedPreconditionError(
        absl::StrCat("another run is writing to run.dir ", config_.run.dir,
                     "; let it end first, or set run.dir to another folder"));
  }
  if (config_.run.resume == "never") {
    ASSIGN_OR_RETURN(const auto steps, store_.Steps());
    if (!steps.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat(config_.run.dir, " holds a run already (step ", steps.back(),
                       "); set run.resume=auto to go on with it, or another run.dir"));
    }
  }
  return telemetry::AddLogFile((fs::path(config_.run.dir) / "train.log").string());
}

absl::Status TrainLoop::InitialiseModel() {
  if (config_.model.init_from.empty()) return absl::OkStatus();
  const auto source = checkpoint::LoadModel(config_.model.init_from);
  if (!source.ok()) {
    return absl::Status(source.status().code(), absl::StrCat("model.init_from: ", source.status().message()));
  }
  return InitialiseFrom(source->model, "model.init_from " + config_.model.init_from, step_->model());
}

absl::Status TrainLoop::CheckResumable(const nlohmann::json& state, const std::string& folder) const {
  // All of these decide which utterance comes when: with another value the run would skip some and repeat
  // others.
  if (state.value("speakers", nlohmann::json()) != data_->dataset().manifest().speakers ||
      state.value("data_fingerprint", "") != data_->Fingerprint()) {
    return absl::InvalidArgumentError(
        absl::StrCat(folder, " was trained on other data than ", config_.data.path,
                     " holds now (its shards, its speakers or its split '", config_.data.train_split,
                     "' differ); set data.path to that data set, or give this run another run.dir"));
  }
  const auto check = [&](const char* section, const char* key, const nlohmann::json& mine) -> absl::Status {
    const auto theirs = state.value(key, nlohmann::json());
    if (theirs == mine) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat(folder, " was made with ", section, ".", key, " = ", theirs.dump(), ", this run has ",
                     mine.dump(), "; set it back to go on, or give this run another run.dir"));
  };
  const auto saved = config::FromJson(state.value("config", nlohmann::json()), folder + "/state.json");
  RETURN_IF_ERROR(saved.status());
  if ((saved->train.ema_decay > 0) != (config_.train.ema_decay > 0)) {
    return absl::InvalidArgumentError(
        absl::StrCat(folder, " was made with train.ema_decay = ", saved->train.ema_decay, ", this run has ",
                     config_.train.ema_decay,
                     ", and an average of the weights cannot begin or end midway; set it back to "
                     "go on, or start anew in another run.dir with model.init_from=",
                     folder));
  }
  RETURN_IF_ERROR(check("run", "seed", config_.run.seed));
  return check("train", "global_batch", config_.train.global_batch);
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
      if (!latest->has_value()) return InitialiseModel();
      const auto& loaded = **latest;
      RETURN_IF_ERROR(CheckResumable(loaded.snapshot.state, loaded.folder));
      RETURN_IF_ERROR(RestoreSnapshot(loaded.snapshot, loaded.folder, loaded.step, *step_));
      shared["step"] = loaded.step;
      if (loaded.snapshot.state.contains("best")) shared["best"] = loaded.snapshot.state["best"];
      telemetry::Info(absl::StrCat("going on from step ", loaded.step, " (", loaded.folder, "), saved by ",
                                   loaded.snapshot.state.value("world_size", 0), " ranks"));
      return absl::OkStatus();
    }();
  }
  RETURN_IF_ERROR(FromRankZero(status));
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
    steps_done_ = figures_taken_ = saved_step_ = step;
    if (shared.contains("best")) {
      best_ = Best{shared["best"].value("step", int64_t{0}), shared["best"].value("accuracy", 0.0),
                   shared["best"].value("loss", 0.0)};
    }
  }
  steps_at_start_ = steps_done_;
  return FromRankZero(rank_zero() ? OpenRunFiles() : absl::OkStatus());
}

absl::Status TrainLoop::OpenRunFiles() {
  const fs::path folder = config_.run.dir;
  RETURN_IF_ERROR(data::WriteFileAtomically((folder / "config.yaml").string(), config::ToYaml(config_)));
  auto metrics = telemetry::MetricsFile::Open((folder / "metrics.jsonl").string(), steps_done_);
  if (metrics.ok()) metrics_.emplace(*std::move(metrics));
  return metrics.status();
}

absl::StatusOr<RunEnd> TrainLoop::Loop() {
  const int64_t total = config_.schedule.total_steps;
  if (steps_done_ >= total) {
    telemetry::Info(absl::StrCat("all ", total,
                                 " steps are done already; set schedule.total_steps higher to train on, "
                                 "or another run.dir to start anew"));
    return RunEnd::kFinished;
  }
  const auto loader = data_->MakeTrainLoader(steps_done_, device_.is_cuda());
  run_clock_.Restart();
  meter_.Restart();
  while (steps_done_ < total) {
    RETURN_IF_ERROR(RunStep(*loader));
    const bool last = steps_done_ == total;
    const auto due = [&](int64_t every) { return last || (every > 0 && steps_done_ % every == 0); };
    const bool validate = data_->has_validation() && due(config_.train.validate_every);
    const bool save = due(config_.checkpoint.every);
    const bool log = due(config_.train.log_every);
    // Before anything is kept, all figures must be in: a checkpoint never holds the parameters of a diverged
    // step.
    RETURN_IF_ERROR(TakeFigures(/*flush=*/validate || save || log));
    if (log && !validate) Log(nullptr);
    if (validate) RETURN_IF_ERROR(Validate());
    if (save || stop_agreed_) {
      RETURN_IF_ERROR(TakeFigures(/*flush=*/true));
      if (saved_step_ != steps_done_) RETURN_IF_ERROR(Save(/*is_best=*/!data_->has_validation()));
    }
    if (stop_agreed_ && !last) {
      telemetry::Info(absl::StrCat("stopped on request at step ", steps_done_, ", which is saved in ",
                                   store_.folder(), "; run the same command again to go on"));
      return RunEnd::kStopped;
    }
  }
  telemetry::Info(absl::StrCat("finished ", total, " steps in ",
                               telemetry::FormatDuration(run_clock_.Seconds()), "; results in ",
                               config_.run.dir));
  return RunEnd::kFinished;
}

absl::Status TrainLoop::RunStep(data::TrainLoader& loader) {
  step_->Begin(steps_done_);
  if (stop_.requested()) step_->VoteStop();
  for (int64_t micro = 0; micro < config_.train.accumulate; ++micro) {
    step_->WaitForCopies();
    const Stopwatch wait;
    const auto batch = loader.Next();
    meter_.data_wait_seconds += wait.Seconds();
    if (!batch.ok()) {
      data_error_ = batch.status();
      step_->VoteFailed();
      if (!step_->needs_every_rank()) break;
      for (; micro < config_.train.accumulate; ++micro) {
        step_->AddMicroBatch(SilentBatch(), micro + 1 == config_.train.accumulate);
      }
      break;
    }
    step_->AddMicroBatch(**batch, micro + 1 == config_.train.accumulate);
  }
  step_->Finish(schedule_.LearningRate(steps_done_));
  meter_.exposed_communication_seconds += communicator_->TakeExposedSeconds();
  ++steps_done_;
  return absl::OkStatus();
}

// What a rank that has no data computes on, where the others could not go on without it; the step is thrown
// away.
data::Batch TrainLoop::SilentBatch() const {
  const int64_t size = config_.train.global_batch / (world_.size * config_.train.accumulate);
  data::Batch batch;
  batch.mels = torch::zeros({size, config_.data.crop_frames, data_->dataset().n_mels()});
  batch.lengths = torch::full({size}, config_.data.crop_frames, torch::kInt64);
  batch.speakers = torch::zeros({size}, torch::kInt64);
  return batch;
}

absl::Status TrainLoop::TakeFigures(bool flush) {
  while (const auto figures = step_->TakeFigures(flush)) {
    ++figures_taken_;
    meter_.Add(*figures);
    stop_agreed_ = stop_agreed_ || figures->stop;
    // A failure somewhere is known to all by now, its cause only where it happened: agree on the words.
    if (figures->failed) return launcher::AgreeOn(world_, data_error_);
    if (!std::isfinite(figures->loss) || !std::isfinite(figures->gradient_norm)) {
      // abs: the sign of a NaN says nothing.
      return absl::AbortedError(
          absl::StrFormat("step %d: the loss is %g and the gradient norm %g, so the run has diverged; %s. "
                          "Lower optimizer.lr, lengthen "
                          "schedule.warmup_steps or set optimizer.clip_norm (1.0, say), then run it again",
                          figures_taken_, std::abs(figures->loss), std::abs(figures->gradient_norm),
                          saved_step_ < 0 ? "there is no checkpoint yet"
                                          : absl::StrCat("the last checkpoint is of step ", saved_step_)));
    }
  }
  return absl::OkStatus();
}

absl::Status TrainLoop::Validate() {
  const Stopwatch clock;
  const uint64_t hash = step_->parameters().Hash();
  if (!launcher::AllEqual(hash)) {
    return absl::InternalError(absl::StrCat("step ", steps_done_,
                                            ": the ranks' parameters differ, although every rank "
                                            "made the same updates; check memory and network of the hosts"));
  }
  const auto loader = data_->MakeValidationLoader(device_.is_cuda());
  step_->SwapAverage();
  ASSIGN_OR_RETURN(validation_, Evaluate(world_, step_->model(), device_, *loader));
  step_->SwapAverage();
  const bool is_best = !best_ || validation_->accuracy > best_->accuracy ||
                       (validation_->accuracy == best_->accuracy && validation_->loss < best_->loss);
  if (is_best) best_ = Best{steps_done_, validation_->accuracy, validation_->loss};
  meter_.excluded_seconds += clock.Seconds();
  Log(&*validation_);
  return is_best ? Save(/*is_best=*/true) : absl::OkStatus();
}

absl::Status TrainLoop::Save(bool is_best) {
  const Stopwatch clock;
  absl::Status status;
  if (rank_zero()) {
    auto snapshot = TakeSnapshot(*step_);
    const auto& manifest = data_->dataset().manifest();
    snapshot.state = {
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
    if (best_) {
      snapshot.state["best"] = {{"step", best_->step}, {"accuracy", best_->accuracy}, {"loss", best_->loss}};
    }
    status = store_.Save(steps_done_, snapshot, is_best);
  }
  RETURN_IF_ERROR(FromRankZero(status));
  saved_step_ = steps_done_;
  meter_.excluded_seconds += clock.Seconds();
  return absl::OkStatus();
}

void TrainLoop::Log(const EvaluationFigures* validation) {
  if (rank_zero() && meter_.steps > 0) {
    const auto steps = static_cast<double>(meter_.steps);
    const double utterances = static_cast<double>(config_.train.global_batch);
    const double step_seconds = meter_.StepSeconds();
    const double exposed = meter_.exposed_communication_seconds / steps;
    const double wait = meter_.data_wait_seconds / steps;
    const double loss = meter_.loss / steps;
    const double accuracy = meter_.correct / steps / utterances;
    const double rate = schedule_.LearningRate(steps_done_ - 1);
    std::string line = absl::StrFormat(
        "step %d/%d  loss %.4f  acc %.2f%%  lr %.2e  |g| %.3g  %.1f ms/step  %.0f utt/s  wait %.1f%%  comm "
        "%.1f%%  "
        "left %s",
        steps_done_, config_.schedule.total_steps, loss, 100 * accuracy, rate, meter_.gradient_norm,
        1e3 * step_seconds, utterances / step_seconds, 100 * wait / step_seconds,
        100 * exposed / step_seconds,
        telemetry::FormatDuration(step_seconds *
                                  static_cast<double>(config_.schedule.total_steps - steps_done_)));
    nlohmann::ordered_json json = {
        {"step", steps_done_},
        {"epoch", (steps_done_ - 1) / data_->batches_per_epoch()},
        {"loss", loss},
        {"accuracy", accuracy},
        {"learning_rate", rate},
        {"gradient_norm", meter_.gradient_norm},
        {"step_seconds", step_seconds},
        {"data_wait_seconds", wait},
        {"exposed_communication_seconds", exposed},
        {"utterances_per_second", utterances / step_seconds},
    };
    if (validation != nullptr) {
      absl::StrAppendFormat(&line, "  valid loss %.4f acc %.2f%%", validation->loss,
                            100 * validation->accuracy);
      json["valid_loss"] = validation->loss;
      json["valid_accuracy"] = validation->accuracy;
    }
    telemetry::Info(line);
    // Not a reason to lose the run: saving a checkpoint will fail loudly if the disk stays full.
    if (auto status = metrics_->Append(json); !status.ok() && !warned_of_metrics_) {
      telemetry::Warn(std::string(status.message()));
      warned_of_metrics_ = true;
    }
  }
  meter_.Restart();
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
