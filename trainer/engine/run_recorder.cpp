#include "trainer/engine/run_recorder.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "data/files.h"
#include "data/status_macros.h"
#include "trainer/model/flops.h"
#include "trainer/telemetry/log.h"
#include "trainer/telemetry/peak_flops.h"
#include "trainer/telemetry/progress.h"
#include "trainer/telemetry/unix_time.h"
#include "trainer/version.h"

namespace trainer::engine {
namespace {

namespace fs = std::filesystem;
using telemetry::Phase;
using telemetry::RankFigures;
using telemetry::UnixSeconds;

constexpr double kProgressSeconds = 0.2;  // between two drawings

// They travel as doubles, which is all that they consist of.
constexpr size_t kRankFigures = sizeof(RankFigures) / sizeof(double);
using Encoded = std::array<double, kRankFigures>;

std::vector<double> Encode(const RankFigures& figures) {
  const auto values = std::bit_cast<Encoded>(figures);
  return {values.begin(), values.end()};
}

RankFigures Decode(const std::vector<double>& values) {
  Encoded encoded{};
  std::copy(values.begin(), values.end(), encoded.begin());
  return std::bit_cast<RankFigures>(encoded);
}

// Resident bytes of this process, as the kernel counts them.
double ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  double total = 0, resident = telemetry::kUnknown;
  statm >> total >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE));
}

// The words of this process' command line, as one shell command.
std::string CommandLine() {
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  std::string command;
  for (std::string word; std::getline(file, word, '\0');) {
    const bool plain =
        !word.empty() && word.find_first_of(" \t\n\"'\\$&|;<>()*?[]#~`!{}") == std::string::npos;
    std::string quoted = plain ? word : "'";
    if (!plain) {
      for (const char c : word) absl::StrAppend(&quoted, c == '\'' ? "'\\''" : std::string(1, c));
      quoted += '\'';
    }
    absl::StrAppend(&command, command.empty() ? "" : " ", quoted);
  }
  return command;
}

std::optional<double> PeakOfAll(const config::Config& config, int ranks, const std::string& gpu) {
  const auto world_size = static_cast<double>(ranks);
  if (config.metrics.peak_tflops > 0) return config.metrics.peak_tflops * 1e12 * world_size;
  const auto peak = telemetry::PeakFlops(gpu);
  if (!peak) return std::nullopt;
  return *peak * world_size;
}

double& At(telemetry::PhaseSeconds& seconds, Phase phase) { return seconds[static_cast<size_t>(phase)]; }
double At(const telemetry::PhaseSeconds& seconds, Phase phase) { return seconds[static_cast<size_t>(phase)]; }

telemetry::PhaseSeconds EachStep(telemetry::PhaseSeconds seconds, int64_t steps) {
  for (double& phase : seconds) phase /= static_cast<double>(steps);
  return seconds;
}

// Recordings that `mels extract --skip-bad` left out of a data set, by its report's lines.
int64_t CountSkipped(const std::string& data_path) {
  std::ifstream report(fs::path(data_path) / "skipped.csv");
  int64_t lines = 0;
  for (std::string line; std::getline(report, line);) ++lines;
  return std::max<int64_t>(lines - 1, 0);  // without the header
}

// How often the launcher has started this run again; it says so to its children.
int64_t RestartsByLauncher() {
  const char* restarts = std::getenv("TRAINER_RESTARTS");
  return restarts == nullptr ? 0 : std::atoll(restarts);
}

// Adds the time that it lives to `seconds`.
class Recording {
 public:
  explicit Recording(double& seconds) : seconds_(seconds) {}
  ~Recording() { seconds_ += clock_.Seconds(); }
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;

 private:
  double& seconds_;
  Stopwatch clock_;
};

std::string LogLine(const telemetry::IntervalFigures& figures) {
  const auto share = [&](Phase phase) {
    return 100 * At(figures.phase_seconds, phase) / figures.step_seconds;
  };
  std::string line = absl::StrFormat(
      "step %d/%d  loss %.4f  acc %.2f%%  lr %.2e  |g| %.3g  %.1f ms/step  %.0f utt/s  wait %.1f%%  comm "
      "%.1f%%  left "
      "%s",
      figures.step, figures.total_steps, figures.loss, 100 * figures.accuracy, figures.learning_rate,
      figures.gradient_norm, 1e3 * figures.step_seconds, figures.utterances_per_second,
      share(Phase::kDataWait), share(Phase::kExposedCommunication),
      telemetry::FormatDuration(figures.seconds_left));
  if (figures.model_flops_utilization) {
    absl::StrAppendFormat(&line, "  mfu %.1f%%", 100 * *figures.model_flops_utilization);
  }
  if (figures.valid_loss) {
    absl::StrAppendFormat(&line, "  valid loss %.4f acc %.2f%%", *figures.valid_loss,
                          100 * figures.valid_accuracy.value_or(0));
  }
  return line;
}

// What --verbose adds: where the time went, and who was slow.
std::string DetailLine(const telemetry::IntervalFigures& figures) {
  std::string line = absl::StrFormat("step %d phases, ms a step:", figures.step);
  for (size_t i = 0; i < telemetry::kPhases; ++i) {
    absl::StrAppendFormat(&line, "  %s %.2f", telemetry::kPhaseNames[i], 1e3 * figures.phase_seconds[i]);
  }
  absl::StrAppendFormat(&line, "  |w| %.4g  |dw| %.3g", figures.weight_norm, figures.update_norm);
  if (figures.reduced_bytes > 0) {
    absl::StrAppendFormat(&line, "  reduced %.2f MB at %.2f GB/s (bus)", figures.reduced_bytes * 1e-6,
                          figures.bus_bandwidth_bytes_per_second * 1e-9);
  }
  if (figures.ranks) {
    const auto busy = figures.ranks->Busy();
    absl::StrAppendFormat(&line, "  own work %.2f/%.2f/%.2f ms (min/median/max; slowest: rank %d on %s)",
                          1e3 * busy.min, 1e3 * busy.median, 1e3 * busy.max, busy.max_rank,
                          figures.ranks->hosts[static_cast<size_t>(busy.max_rank)]);
  }
  return line;
}

}  // namespace

double RunRecorder::Interval::StepSeconds() const {
  const double between = At(phase_seconds, Phase::kCheckpoint) + At(phase_seconds, Phase::kValidation);
  return steps == 0 ? 0 : (clock.Seconds() - between) / static_cast<double>(steps);
}

RunRecorder::RunRecorder(const config::Config& config, RecordedRun run, std::function<bool()> folder_is_ours)
    : config_(config),
      run_(std::move(run)),
      schedule_{config.optimizer.lr, config.schedule.warmup_steps, config.schedule.total_steps,
                config.schedule.cycles},
      gpu_(launcher::DescribeGpu(run_.device)),
      gpu_monitor_(gpu_.pci_bus_id),
      peak_flops_(PeakOfAll(config, run_.world.size, gpu_.name)),
      gather_(run_.world, kRankFigures),
      folder_is_ours_(std::move(folder_is_ours)) {
  totals_.restarts = RestartsByLauncher();
}

RunRecorder::~RunRecorder() {
  Flush();
  telemetry::ShowStatus("");
  if (prometheus_) prometheus_->Update(totals_);  // with what has happened since the last log line
}

absl::Status RunRecorder::Open(int64_t step, const std::vector<std::string>& hosts) {
  hosts_ = hosts;
  if (!rank_zero()) return absl::OkStatus();
  RETURN_IF_ERROR(OpenFiles(step));
  totals_.skipped_utterances = CountSkipped(config_.data.path);
  RETURN_IF_ERROR(StartPrometheus());
  if (config_.metrics.progress == "auto") columns_ = telemetry::TerminalColumns();
  if (config_.metrics.progress == "always") columns_ = std::max(telemetry::TerminalColumns(), 80);
  return absl::OkStatus();
}

absl::Status RunRecorder::OpenFiles(int64_t step) {
  const fs::path folder = config_.run.dir;
  RETURN_IF_ERROR(data::WriteFileAtomically((folder / "config.yaml").string(), config::ToYaml(config_)));
  ASSIGN_OR_RETURN(auto metrics, telemetry::MetricsFile::Open((folder / "metrics.jsonl").string(), step));
  metrics_.emplace(std::move(metrics));
  warned_of_metrics_ = folder_is_lost_ = false;
  if (config_.metrics.tensorboard)
    tensorboard_.emplace(config_, step, writing_, [this] { return !folder_is_lost_; });
  RETURN_IF_ERROR(WriteStart(step));
  if (prometheus_) RETURN_IF_ERROR(prometheus_->WriteEndpointFile());
  return absl::OkStatus();
}

void RunRecorder::FlushToDisk() {
  writing_.Post([this] {
    if (metrics_ && !folder_is_lost_) metrics_->Sync();
  });
  writing_.Wait();
}

void RunRecorder::CloseFiles() {
  Flush();
  metrics_.reset();
  tensorboard_.reset();
}

// RUN/starts.jsonl: a line for each start of the run, with what it ran on.
absl::Status RunRecorder::WriteStart(int64_t step) {
  const std::string path = (fs::path(config_.run.dir) / "starts.jsonl").string();
  std::ifstream earlier(path);
  bool torn = false;
  totals_.resumes = step > 0 ? 1 : 0;
  for (std::string line; std::getline(earlier, line);) {
    const auto json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    const auto from =
        json.is_object() ? json.value("/from_step"_json_pointer, nlohmann::json()) : nlohmann::json();
    if (from.is_number() && from > 0) ++totals_.resumes;
    torn = earlier.eof();  // no line break: written by a run that was killed at it
  }
  const nlohmann::ordered_json start = {
      {"unix_seconds", UnixSeconds()},     {"from_step", step},
      {"world_size", run_.world.size},     {"hosts", hosts_},
      {"device", run_.device.str()},       {"gpu", gpu_.name},
      {"communicator", run_.communicator}, {"threads", at::get_num_threads()},
      {"version", kVersionLine},           {"torch", TORCH_VERSION},
      {"compiler", __VERSION__},           {"command", CommandLine()},
  };
  std::ofstream file(path, std::ios::app);
  file << (torn ? "\n" : "") << start.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)
       << std::endl;
  if (!file) return data::ErrnoStatus(errno, "cannot write", path);
  return absl::OkStatus();
}

absl::Status RunRecorder::StartPrometheus() {
  const auto& keys = config_.metrics.prometheus;
  const fs::path folder = config_.run.dir;
  auto exporter = telemetry::PrometheusExporter::Start(
      {keys.address, keys.auth_file, keys.pushgateway, keys.push_auth_file, keys.push_seconds, keys.textfile},
      fs::absolute(folder / "").lexically_normal().parent_path().filename().string(),
      {{"version", kVersionLine},
       {"world_size", absl::StrCat(run_.world.size)},
       {"device", run_.device.str()},
       {"gpu", gpu_.name},
       {"communicator", run_.communicator},
       {"model", config_.model.type},
       {"host", run_.world.host},
       {"folder", config_.run.dir}},
      config_.run.dir, [](const std::string& line) { telemetry::Warn(line); });
  RETURN_IF_ERROR(exporter.status());
  prometheus_ = *std::move(exporter);
  prometheus_->Update(totals_);
  return absl::OkStatus();
}

void RunRecorder::Start() { interval_ = Interval(); }

void RunRecorder::CountFrames(int64_t utterances, int64_t frames) {
  interval_.frames += static_cast<double>(utterances * frames);
}

void RunRecorder::CountStep(const StepFigures& figures) {
  const Recording recording(own_seconds_);
  ++interval_.steps;
  interval_.loss += figures.loss;
  interval_.correct += figures.correct;
  interval_.last = figures;
  ++totals_.steps;
  totals_.last_step_unix_seconds = UnixSeconds();
  if (figures.stop) ++totals_.signals;
  if (!std::isfinite(figures.loss) || !std::isfinite(figures.gradient_norm)) ++totals_.nonfinite_steps;
}

void RunRecorder::CountCheckpointStall(double seconds) {
  At(interval_.phase_seconds, Phase::kCheckpoint) += seconds;
}

void RunRecorder::CountCheckpoint(const SavedCheckpoint& saved) {
  ++totals_.checkpoints;
  totals_.last_checkpoint_unix_seconds = std::chrono::duration<double>(saved.end.time_since_epoch()).count();
  totals_.checkpoint_stall_seconds = saved.stall_seconds;
  totals_.checkpoint_write_seconds = saved.write_seconds;
}

void RunRecorder::CountValidation(double seconds) {
  At(interval_.phase_seconds, Phase::kValidation) += seconds;
}

RankFigures RunRecorder::OwnFigures() const {
  RankFigures own;
  own.phase_seconds = EachStep(interval_.phase_seconds, interval_.steps);
  own.step_seconds = interval_.StepSeconds();
  own.host_memory_bytes = ResidentBytes();
  own.device_memory_bytes = launcher::PeakDeviceMemoryBytes(run_.device);
  gpu_monitor_.Read(own);
  return own;
}

telemetry::IntervalFigures RunRecorder::MakeFigures(int64_t step, double reduced_bytes,
                                                    double reduce_seconds) const {
  const auto steps = static_cast<double>(interval_.steps);
  const auto batch = static_cast<double>(config_.train.global_batch);
  const auto world_size = static_cast<double>(run_.world.size);
  telemetry::IntervalFigures figures;
  figures.step = step;
  figures.total_steps = config_.schedule.total_steps;
  figures.epoch = (step - 1) / run_.batches_per_epoch;
  figures.unix_seconds = UnixSeconds();
  figures.loss = interval_.loss / steps;
  figures.accuracy = interval_.correct / steps / batch;
  figures.gradient_norm = interval_.last.gradient_norm;
  figures.learning_rate = schedule_.LearningRate(step - 1);
  figures.weight_norm = interval_.last.weight_norm;
  figures.update_norm = interval_.last.update_norm;
  figures.step_seconds = interval_.StepSeconds();
  figures.phase_seconds = EachStep(interval_.phase_seconds, interval_.steps);
  figures.utterances_per_second = batch / figures.step_seconds;
  const double frames_a_step = interval_.frames * world_size / steps;
  figures.frames_per_second = frames_a_step / figures.step_seconds;
  figures.audio_hours_per_second = figures.frames_per_second / run_.frames_per_second / 3600;
  figures.reduced_bytes = reduced_bytes / steps;
  if (reduce_seconds > 0) {
    figures.bus_bandwidth_bytes_per_second =
        reduced_bytes * 2 * (world_size - 1) / world_size / reduce_seconds;
  }
  // Crops may differ in length from step to step; products of frames with frames make up little of the whole.
  const auto frames = static_cast<int64_t>(frames_a_step / batch + 0.5);
  figures.flops_per_step = 3 * batch * model::ForwardFlops(config_, run_.n_mels, run_.n_speakers, frames);
  if (peak_flops_)
    figures.model_flops_utilization = figures.flops_per_step / figures.step_seconds / *peak_flops_;
  figures.recording_seconds = own_seconds_ / steps;  // of the last line's writing, and since then
  figures.seconds_left = figures.step_seconds * static_cast<double>(figures.total_steps - step);
  return figures;
}

void RunRecorder::TakeRanks(bool wait) {
  const auto values = gather_.Take(wait);
  if (!values) return;
  telemetry::RanksFigures ranks{gathered_step_, {}, hosts_};
  for (const auto& rank : *values) ranks.ranks.push_back(Decode(rank));
  ranks_ = std::move(ranks);
}

void RunRecorder::Log(int64_t step, PhaseClock& clock, launcher::Communicator& communicator,
                      const EvaluationFigures* validation) {
  const Recording recording(own_seconds_);
  if (interval_.steps == 0) return;
  const auto phases = clock.Take();
  for (size_t i = 0; i < telemetry::kPhases; ++i) {
    interval_.phase_seconds[i] += phases[i];
    totals_.phase_seconds[i] += interval_.phase_seconds[i];
  }
  const auto reduced_bytes = static_cast<double>(communicator.TakeReducedBytes());
  const double reduce_seconds = communicator.TakeReduceSeconds();
  TakeRanks(/*wait=*/true);  // the last line's: they have had a whole interval
  gather_.Start(Encode(OwnFigures()));
  gathered_step_ = step;
  TakeRanks(/*wait=*/false);

  last_step_seconds_ = interval_.StepSeconds();
  totals_.utterances = totals_.steps * config_.train.global_batch;
  totals_.frames += interval_.frames * static_cast<double>(run_.world.size);
  totals_.reduced_bytes += reduced_bytes;
  if (rank_zero()) {
    auto figures = MakeFigures(step, reduced_bytes, reduce_seconds);
    if (validation != nullptr) {
      figures.valid_loss = validation->loss;
      figures.valid_accuracy = validation->accuracy;
    }
    figures.ranks = ranks_;
    figures.totals = totals_;
    own_seconds_ = 0;
    wait_share_ = At(figures.phase_seconds, Phase::kDataWait) / figures.step_seconds;
    Write(figures);
  }
  interval_ = Interval();
}

void RunRecorder::Write(const telemetry::IntervalFigures& figures) {
  writing_.Post([this, figures] {
    telemetry::Info(LogLine(figures));
    telemetry::Detail(DetailLine(figures));
    if (!folder_is_ours_()) folder_is_lost_ = true;
    if (!metrics_ || folder_is_lost_) return;
    // Not a reason to lose the run: saving a checkpoint will fail loudly if the disk stays full.
    const auto status = metrics_->Append(telemetry::ToJson(figures));
    if (!status.ok() && !std::exchange(warned_of_metrics_, true)) {
      telemetry::Warn(std::string(status.message()));
    }
  });
  if (tensorboard_) tensorboard_->Log(figures);
  prometheus_->Update(figures);
}

void RunRecorder::ShowProgress(int64_t step) {
  if (columns_ == 0 || interval_.steps == 0 || since_progress_.Seconds() < kProgressSeconds) return;
  const Recording recording(own_seconds_);
  since_progress_.Restart();
  const auto batch = static_cast<double>(config_.train.global_batch);
  const double step_seconds = last_step_seconds_ > 0 ? last_step_seconds_ : interval_.StepSeconds();
  telemetry::Progress progress;
  progress.step = step;
  progress.total_steps = config_.schedule.total_steps;
  progress.loss = interval_.loss / static_cast<double>(interval_.steps);
  progress.accuracy = interval_.correct / static_cast<double>(interval_.steps) / batch;
  progress.learning_rate = schedule_.LearningRate(step - 1);
  progress.utterances_per_second = batch / step_seconds;
  progress.wait = wait_share_;
  progress.seconds_left = step_seconds * static_cast<double>(progress.total_steps - step);
  telemetry::ShowStatus(telemetry::ProgressLine(progress, columns_ - 1));  // a full line would wrap
}

void RunRecorder::Close(telemetry::RunState state) {
  TakeRanks(/*wait=*/true);
  Flush();
  if (prometheus_) prometheus_->Finish(state);
  prometheus_.reset();
}

}  // namespace trainer::engine
