#include "trainer/preflight/training.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <new>
#include <numeric>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "launcher/control.h"
#include "trainer/checkpoint/checkpoint_store.h"
#include "trainer/engine/evaluation.h"
#include "trainer/engine/run_setup.h"
#include "trainer/engine/snapshot.h"
#include "trainer/engine/stopwatch.h"
#include "trainer/engine/train_step.h"
#include "trainer/optim/schedule.h"
#include "trainer/preflight/memory.h"
#include "trainer/preflight/ranks.h"
#include "trainer/telemetry/log.h"

namespace trainer::preflight {
namespace {

using telemetry::Phase;

constexpr double kStepsSeconds = 4;
constexpr int64_t kMostSteps = 200;
constexpr double kValidationSeconds = 3;
constexpr int64_t kMostUtterances = 32;  // validated, a rank
constexpr double kMuchWaiting = 0.2;     // of a step

// What running out of memory throws becomes a status, so that the other ranks need not wait for this one.
template <typename Function>
absl::Status WithinMemory(const char* doing, Function&& function) {
  const auto too_little = [doing](const std::string& why) {
    return absl::ResourceExhaustedError(
        absl::StrCat("too little memory ", doing, ": ", why.substr(0, why.find('\n')),
                     "; raise train.accumulate, lower train.global_batch, or start more ranks"));
  };
  try {
    function();
    return absl::OkStatus();
  } catch (const c10::OutOfMemoryError& error) {
    return too_little(error.what_without_backtrace());
  } catch (const std::bad_alloc& error) {
    return too_little(error.what());
  }
}

std::string Percent(double share) { return absl::StrFormat("%.1f %%", 100 * share); }

class Trial {
 public:
  Trial(const config::Config& config, const launcher::World& world, torch::Device device,
        const engine::TrainingData& data, launcher::Communicator& communicator, Report& report)
      : config_(config),
        world_(world),
        device_(device),
        data_(data),
        communicator_(communicator),
        report_(report) {}

  std::optional<TrainingFigures> Run(bool may_resume) {
    const MemoryWatch memory(device_);
    report_.Begin("training");
    const auto options = engine::StepOptionsOf(config_, world_, device_);
    if (!Agreed(WithinMemory("for the model", [&] { Build(options); }))) return std::nullopt;
    TrainingFigures result;
    result.checkpoint_bytes = CheckpointBytes();
    Describe(result.checkpoint_bytes);
    if (may_resume) Resume();
    report_.Begin("training");
    if (TrainSteps()) {
      result.step_seconds = step_seconds_;
      result.validation_seconds = ValidationSeconds();
      EstimateRun(result.validation_seconds);
      memory.Tell(world_, CheckpointBytes(), report_);
    }
    return result;
  }

 private:
  // Whether all ranks' status is OK; an error in the report otherwise.
  bool Agreed(const absl::Status& mine) {
    const auto status = launcher::AgreeOn(world_, mine);
    report_.Error(status);
    return status.ok();
  }

  void Build(const engine::TrainStepOptions& options) {
    auto model = engine::MakeRunModel(config_, data_);
    model->to(device_);
    step_ = std::make_unique<engine::TrainStep>(std::move(model), communicator_, world_, options);
  }

  int64_t Parameters() const { return step_->parameters().values().numel(); }

  // Of a save, but for a few kilobytes of headers.
  int64_t CheckpointBytes() const {
    int64_t bytes = 0;
    for (const auto& tensor : step_->model().parameters()) bytes += static_cast<int64_t>(tensor.nbytes());
    for (const auto& tensor : step_->model().buffers()) bytes += static_cast<int64_t>(tensor.nbytes());
    const int64_t moments = step_->average().defined() ? 3 : 2;
    for (const auto& speaker : data_.dataset().manifest().speakers)
      bytes += static_cast<int64_t>(speaker.size()) + 4;
    return bytes + moments * Parameters() * 4;
  }

  void Describe(int64_t checkpoint_bytes) {
    auto& figures = report_.figures("training");
    figures["model"] = config_.model.type;
    figures["parameters"] = Parameters();
    report_.Ok(absl::StrCat("model ", config_.model.type, ": ", FormatCount(Parameters()), " parameters, ",
                            FormatBytes(static_cast<double>(checkpoint_bytes)), " a checkpoint"));
  }

  // As the loop does, but sets no links right: only looks.
  void Resume() {
    report_.Begin("run folder");
    if (world_.rank == 0) report_.Error(Load());
    steps_done_ = FromRankZero(steps_done_);
    report_.figures("run_folder")["steps_done"] = steps_done_;
    communicator_.Broadcast(step_->parameters().values(), 0);
    for (auto& item : step_->model().named_buffers()) communicator_.Broadcast(item.value(), 0);
  }

  absl::Status Load() {
    const checkpoint::CheckpointStore store(config_.run.dir, config_.checkpoint.keep);
    std::vector<std::string> warnings;
    const auto latest = store.LoadLatest(&warnings);
    for (const auto& warning : warnings) {
      report_.Warn(warning, "nothing need be done: an older checkpoint is used, if there is one");
    }
    if (!latest.ok()) return latest.status();
    if (!latest->has_value()) {
      report_.Ok("no checkpoint there yet: the run begins at step 0");
      return engine::InitialiseModel(config_, step_->model());
    }
    const auto& loaded = **latest;
    if (auto status = engine::CheckResumable(config_, data_, loaded.snapshot.state, loaded.folder);
        !status.ok()) {
      return status;
    }
    if (auto status = engine::RestoreSnapshot(loaded.snapshot, loaded.folder, loaded.step, *step_);
        !status.ok()) {
      return status;
    }
    steps_done_ = loaded.step;
    if (steps_done_ >= config_.schedule.total_steps) {
      report_.Warn(absl::StrCat("all ", steps_done_, " steps are done already (", loaded.folder, ")"),
                   "set schedule.total_steps higher to train on, or another run.dir to start anew");
    } else {
      report_.Ok(
          absl::StrCat("the run would go on from step ", FormatCount(steps_done_), " (", loaded.folder, ")"));
    }
    return absl::OkStatus();
  }

  // A micro-batch on this rank alone, where the model allows it: there memory runs out, if it does, and the
  // other ranks do not wait in a sum for the one that it happened to.
  bool TryMemory() {
    if (step_->needs_every_rank()) return true;
    const auto batch = engine::SilentBatch(config_, world_, data_.dataset().n_mels());
    return Agreed(WithinMemory("for a batch", [&] {
      step_->Begin(steps_done_);
      step_->AddMicroBatch(batch, /*last=*/false);
      step_->WaitForCopies();
      step_->clock().Take();
    }));
  }

  // One step as the loop takes it. What goes wrong with the data is kept, and voted.
  void Step(data::TrainLoader& loader, int64_t number) {
    step_->Begin(number);
    for (int64_t micro = 0; micro < config_.train.accumulate; ++micro) {
      step_->WaitForCopies();
      step_->clock().Enter(Phase::kDataWait);
      const auto batch = loader.Next();
      if (batch.ok()) {
        step_->AddMicroBatch(**batch, micro + 1 == config_.train.accumulate);
        continue;
      }
      if (data_error_.ok()) data_error_ = batch.status();
      step_->VoteFailed();
      if (!step_->needs_every_rank()) break;
      for (; micro < config_.train.accumulate; ++micro) {
        step_->AddMicroBatch(engine::SilentBatch(config_, world_, data_.dataset().n_mels()),
                             micro + 1 == config_.train.accumulate);
      }
    }
    step_->Finish(schedule_.LearningRate(number));
  }

  // `count` steps, and seconds each; nothing where some rank's data failed.
  std::optional<double> Steps(data::TrainLoader& loader, int64_t count) {
    const engine::Stopwatch clock;
    bool failed = false;
    for (int64_t i = 0; i < count && !failed; ++i) {
      Step(loader, next_++);
      while (const auto figures = step_->TakeFigures(/*flush=*/false)) failed = failed || Note(*figures);
    }
    while (const auto figures = step_->TakeFigures(/*flush=*/true)) failed = failed || Note(*figures);
    if (failed) return std::nullopt;
    return clock.Seconds() / static_cast<double>(count);
  }

  // Whether the step failed.
  bool Note(const engine::StepFigures& figures) {
    finite_ = finite_ && std::isfinite(figures.loss) && std::isfinite(figures.gradient_norm);
    return figures.failed;
  }

  bool TrainSteps() {
    if (!TryMemory()) return false;
    const auto loader = data_.MakeTrainLoader(steps_done_, device_.is_cuda());
    next_ = steps_done_;
    // The first steps are slower than all others; what one of them takes may be far from what the next ones
    // do.
    auto seconds = Steps(*loader, 1);
    if (seconds && *seconds < kStepsSeconds) seconds = Steps(*loader, 1);
    step_->clock().Take();
    int64_t count = 0;
    double total = 0;
    while (seconds) {
      const auto wanted = static_cast<int64_t>((kStepsSeconds - total) / std::max(*seconds, 1e-4));
      const auto next = FromRankZero(count < 2 ? std::clamp<int64_t>(wanted, 2, kMostSteps)
                                               : std::min(wanted, kMostSteps - count));
      if (next <= 0) return TellSteps(total / static_cast<double>(count), count);
      seconds = Steps(*loader, next);
      if (seconds) total += *seconds * static_cast<double>(next);
      count += next;
    }
    return Agreed(data_error_);
  }

  // Ranks' clocks differ, and all must do the same.
  static int64_t FromRankZero(int64_t value) {
    return std::stoll(launcher::BroadcastString(absl::StrCat(value), 0));
  }

  bool TellSteps(double seconds, int64_t count) {
    auto phases = step_->clock().Take();
    for (auto& phase : phases) phase /= static_cast<double>(count);
    telemetry::RankFigures own;
    own.phase_seconds = phases;
    const auto at = [&](Phase phase) { return phases[static_cast<size_t>(phase)]; };
    const auto ranks = GatherFacts({{"host", world_.host},
                                    {"busy", own.BusySeconds()},
                                    {"wait", at(Phase::kDataWait)},
                                    {"exposed", at(Phase::kExposedCommunication)}});
    step_seconds_ = seconds;
    if (world_.rank != 0) return finite_;
    const auto hosts = TextOf(ranks, "host");
    const auto busy = NumberOf(ranks, "busy"), waits = NumberOf(ranks, "wait");
    std::vector<double> speeds(busy.size());
    std::transform(busy.begin(), busy.end(), speeds.begin(), [](double work) { return 1 / work; });
    // Who is last waits for nobody: what all of them wait is the communication's own.
    const double exposed = telemetry::SpreadOf(NumberOf(ranks, "exposed")).min;
    const auto batch = static_cast<double>(config_.train.global_batch);
    const auto wait = telemetry::SpreadOf(waits);
    auto& figures = report_.figures("training");
    figures["steps_measured"] = count;
    figures["step_seconds"] = seconds;
    figures["utterances_per_second"] = batch / seconds;
    figures["data_wait_seconds"] = waits;
    figures["busy_seconds"] = busy;
    figures["exposed_communication_seconds"] = exposed;
    report_.Ok(absl::StrFormat(
        "%.1f ms/step, %.0f utterances/s (mean of %d steps); waits for data %s, for "
        "all-reduce at least %s of it",
        1e3 * seconds, batch / seconds, count, Percent(wait.max / seconds), Percent(exposed / seconds)));
    if (!finite_) {
      report_.Error("the loss or the gradient is no number within the first steps",
                    "lower optimizer.lr, lengthen schedule.warmup_steps or set optimizer.clip_norm");
    }
    if (wait.max > kMuchWaiting * seconds) {
      report_.Warn(absl::StrCat(NameRanks({wait.max_rank}, hosts), " waits for data ",
                                Percent(wait.max / seconds), " of a step"),
                   "put data.path on faster storage, or give each rank more cores");
    }
    if (exposed > kMuchWaiting * seconds) {
      report_.Warn(
          absl::StrCat("all ranks wait for all-reduce ", Percent(exposed / seconds), " of a step"),
          "compare the bandwidth above with what the network should give, raise train.global_batch, or "
          "start fewer ranks");
    }
    for (const auto& slow : FindSlowRanks(speeds)) {
      report_.Warn(
          absl::StrFormat("%s computes %.1f ms a step, the median is %.1f, and all others wait for it",
                          NameRanks({slow.rank}, hosts), 1e3 / slow.speed, 1e3 / slow.median),
          "look there for other processes and for heat or power limits, or leave it out");
    }
    return finite_;
  }

  // Of the whole split, told from some utterances, the longest of all among them; 0 where there is none.
  double ValidationSeconds() {
    if (!data_.has_validation()) return 0;
    const auto& all = data_.validation();
    const auto& dataset = data_.dataset();
    const auto frames = [&](int64_t utterance) { return static_cast<double>(dataset.frames(utterance)); };
    const double all_frames = std::accumulate(
        all.begin(), all.end(), 0.0, [&](double sum, int64_t utterance) { return sum + frames(utterance); });
    // Forward takes about a third of a step.
    const double frame_seconds = step_seconds_ * world_.size / 3 /
                                 static_cast<double>(config_.train.global_batch * config_.data.crop_frames);
    const double mean_seconds = frame_seconds * all_frames / static_cast<double>(all.size());
    const auto fitting =
        std::clamp<int64_t>(static_cast<int64_t>(kValidationSeconds / mean_seconds), 1, kMostUtterances);
    const int64_t count =
        std::min<int64_t>(FromRankZero(fitting) * world_.size, static_cast<int64_t>(all.size()));
    std::vector<int64_t> some = {*std::max_element(
        all.begin(), all.end(), [&](int64_t a, int64_t b) { return dataset.frames(a) < dataset.frames(b); })};
    for (int64_t i = 1; i < count; ++i) {
      const auto utterance = all[static_cast<size_t>(i * static_cast<int64_t>(all.size()) / count)];
      if (utterance != some[0]) some.push_back(utterance);
    }
    std::sort(some.begin(), some.end());
    double some_frames = 0;
    for (const auto utterance : some) some_frames += frames(utterance);
    const auto loader = data_.MakeLoaderOf(std::move(some), world_, device_.is_cuda());
    const engine::Stopwatch clock;
    const auto figures = engine::Evaluate(world_, step_->model(), device_, *loader);
    report_.Error(figures.status());  // alike on all ranks
    return figures.ok() ? clock.Seconds() * all_frames / some_frames : 0;
  }

  void EstimateRun(double validation_seconds) {
    const int64_t total = config_.schedule.total_steps;
    const int64_t left = std::max<int64_t>(total - steps_done_, 0);
    const int64_t every = config_.train.validate_every;
    const int64_t validations = validation_seconds == 0 ? 0 : every == 0 ? 1 : (left + every - 1) / every;
    const double seconds =
        step_seconds_ * static_cast<double>(left) + validation_seconds * static_cast<double>(validations);
    auto& figures = report_.figures("training");
    figures["steps_left"] = left;
    figures["validation_seconds"] = validation_seconds;
    figures["run_seconds"] = seconds;
    report_.Ok(absl::StrCat(FormatCount(left), " steps in about ", telemetry::FormatDuration(seconds),
                            validations == 0
                                ? ""
                                : absl::StrCat(", ", FormatCount(validations), " validations of ",
                                               telemetry::FormatDuration(validation_seconds), " included")));
  }

  const config::Config& config_;
  const launcher::World& world_;
  const torch::Device device_;
  const engine::TrainingData& data_;
  launcher::Communicator& communicator_;
  Report& report_;
  const optim::Schedule schedule_{config_.optimizer.lr, config_.schedule.warmup_steps,
                                  config_.schedule.total_steps, config_.schedule.cycles};
  std::unique_ptr<engine::TrainStep> step_;
  int64_t steps_done_ = 0;
  int64_t next_ = 0;  // number of the next step
  absl::Status data_error_;
  bool finite_ = true;
  double step_seconds_ = 0;
};

}  // namespace

std::optional<TrainingFigures> TryTraining(const config::Config& config, const launcher::World& world,
                                           torch::Device device, const engine::TrainingData& data,
                                           launcher::Communicator& communicator, bool may_resume,
                                           Report& report) {
  return Trial(config, world, device, data, communicator, report).Run(may_resume);
}

}  // namespace trainer::preflight
