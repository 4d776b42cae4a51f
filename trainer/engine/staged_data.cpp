#include "trainer/engine/staged_data.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "data/manifest.h"
#include "data/staging.h"
#include "data/status_macros.h"
#include "launcher/control.h"
#include "trainer/engine/stopwatch.h"
#include "trainer/engine/training_data.h"
#include "trainer/telemetry/log.h"
#include "trainer/telemetry/progress.h"

namespace trainer::engine {
namespace {

constexpr double kStatusSeconds = 0.2;  // between two drawings on a terminal
constexpr double kLogSeconds = 10;      // between two lines elsewhere

std::string Gigabytes(int64_t bytes) { return absl::StrFormat("%.2f GB", static_cast<double>(bytes) * 1e-9); }

// Shows how far the copy is.
class StagingProgress {
 public:
  explicit StagingProgress(const config::Config& config)
      : config_(config), terminal_(config.metrics.progress != "never" && telemetry::TerminalColumns() > 0) {}
  ~StagingProgress() { telemetry::ShowStatus(""); }
  StagingProgress(const StagingProgress&) = delete;
  StagingProgress& operator=(const StagingProgress&) = delete;

  // Half of the bytes are those read back.
  void Show(int64_t done, int64_t total) {
    if (last_.Seconds() < (terminal_ ? kStatusSeconds : kLogSeconds)) return;
    last_.Restart();
    const double share = static_cast<double>(done) / static_cast<double>(std::max<int64_t>(total, 1));
    const std::string left =
        done > 0 ? telemetry::FormatDuration(clock_.Seconds() * (1 - share) / share) : std::string("?");
    const std::string line =
        absl::StrFormat("staging %.0f%% of %s, left %s", 100 * share, Gigabytes(total / 2), left);
    terminal_ ? telemetry::ShowStatus(line)
              : telemetry::Info(absl::StrCat(line, " (", config_.data.stage_to, ")"));
  }

 private:
  const config::Config& config_;
  const bool terminal_;
  Stopwatch clock_, last_;
};

// What can be told before gigabytes are copied.
absl::Status CheckBeforehand(const config::Config& config, const launcher::World& world) {
  ASSIGN_OR_RETURN(const data::Manifest manifest, data::LoadManifest(config.data.path));
  const auto train = manifest.splits.find(config.data.train_split);
  if (train == manifest.splits.end()) return absl::OkStatus();  // for opening to say; nothing is copied then
  return CheckBatch(config, world, data::CountIndexes(train->second));
}

absl::StatusOr<data::StagedDataset> Stage(const config::Config& config, const launcher::StopSignals& stop,
                                          const std::function<void()>& alive) {
  StagingProgress progress(config);
  data::StagingOptions options;
  options.source = config.data.path;
  options.folder = config.data.stage_to;
  options.splits = SplitsOf(config);
  options.stop_requested = [&] {
    if (alive) alive();
    return stop.requested();
  };
  options.progress = [&](int64_t done, int64_t total) { progress.Show(done, total); };
  options.waiting = [](const std::string& lock) {
    telemetry::Info(absl::StrCat("waiting for another job that stages the same data (", lock, ")"));
  };
  auto staged = data::StageDataset(options);
  if (staged.ok() || absl::IsCancelled(staged.status())) return staged;
  return absl::Status(staged.status().code(), absl::StrCat("data.stage_to: ", staged.status().message()));
}

}  // namespace

absl::StatusOr<StagedData> StageData(const config::Config& config, const launcher::World& world,
                                     const launcher::StopSignals& stop, const std::function<void()>& alive) {
  if (config.data.stage_to.empty()) return StagedData{config.data.path, ""};
  const Stopwatch clock;
  absl::Status status;
  data::StagedDataset staged;
  if (world.local_rank == 0) {
    status = [&]() -> absl::Status {
      RETURN_IF_ERROR(CheckBeforehand(config, world));
      ASSIGN_OR_RETURN(staged, Stage(config, stop, alive));
      return absl::OkStatus();
    }();
  }
  RETURN_IF_ERROR(launcher::AgreeOn(world, status));
  StagedData result;
  // The name tells the content, so it is the same on all hosts; where it is not, opening finds no data set.
  result.folder = world.size == 1 ? staged.folder : launcher::BroadcastString(staged.folder, 0);
  result.summary =
      absl::StrCat("data staged to ", result.folder, ": ", staged.copied_shards, " of ", staged.shards,
                   " shards copied (", Gigabytes(staged.copied_bytes), "), the others were there; took ",
                   telemetry::FormatDuration(clock.Seconds()));
  return result;
}

}  // namespace trainer::engine
