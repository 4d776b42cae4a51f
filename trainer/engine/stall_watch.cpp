#include "trainer/engine/stall_watch.h"

#include <algorithm>
#include <array>
#include <utility>

#include "launcher/stalled.h"

namespace trainer::engine {
namespace {

using telemetry::Phase;

// In the order in which a run goes through them, which is what tells who is behind.
enum WatchedPhase {
  kSettingUp,
  kResuming,
  kStepBegins,
  kDataWait,
  kHostToDevice,
  kForward,
  kBackward,
  kAllReduceWait,
  kOptimizer,
  kDeviceWait,
  kBetweenSteps,
  kValidating,
  kSaving,
  kEnding,
  kBucketBegun,  // names of events alone, from here
  kBucketDone,
  kWatchedPhases,
};

WatchedPhase PhaseOf(std::optional<Phase> phase) {
  if (!phase) return kBetweenSteps;
  switch (*phase) {
    case Phase::kDataWait:
      return kDataWait;
    case Phase::kHostToDevice:
      return kHostToDevice;
    case Phase::kForward:
      return kForward;
    case Phase::kBackward:
      return kBackward;
    case Phase::kExposedCommunication:
      return kAllReduceWait;
    case Phase::kOptimizer:
      return kOptimizer;
    case Phase::kCheckpoint:
      return kSaving;
    case Phase::kValidation:
      return kValidating;
  }
  return kBetweenSteps;
}

launcher::WatchdogOptions OptionsOf(const config::Config& config) {
  const auto& limits = config.watchdog;
  const double step = limits.timeout_seconds;
  const double longer = std::max(step, limits.validation_seconds);
  launcher::WatchdogOptions options;
  options.phases = {
      {"set-up", step},
      {"loading the checkpoint", step},
      {"begin of the step", step},
      {"data wait", step},
      {"copy to the device", step},
      {"forward", step},
      {"backward", step},
      {"all-reduce wait", step, /*waits=*/true},
      {"optimizer", step},
      // For its own sums or for those of others: what the host sees is the same.
      {"device wait", step, /*waits=*/true},
      {"after the step", step},
      {"validation", longer},
      {"checkpoint", longer},
      {"end of the run", longer},
      {"bucket begun"},
      {"bucket done"},
  };
  static_assert(kWatchedPhases == 16);
  options.set_up_seconds = limits.first_step_seconds;
  options.folder = config.run.dir;
  options.exit_code = launcher::kExitStalled;
  options.advice = "start the run again to go on from its last checkpoint";
  return options;
}

int PhaseOf(StallWatch::Activity activity) {
  constexpr std::array<int, 5> kPhases = {kResuming, kDeviceWait, kValidating, kSaving, kEnding};
  return kPhases.at(static_cast<size_t>(activity));
}

}  // namespace

StallWatch::StallWatch(const config::Config& config, const launcher::World& world) {
  static_assert(kSettingUp == 0, "where a watchdog begins");
  if (config.watchdog.timeout_seconds > 0) watchdog_.emplace(world, OptionsOf(config));
}

void StallWatch::Enter(int phase) {
  if (watchdog_) watchdog_->Enter(phase, step_, static_cast<int>(micro_));
}

void StallWatch::Enter(Activity activity) { Enter(PhaseOf(activity)); }

void StallWatch::Follow(PhaseClock& clock, launcher::Communicator& communicator) {
  if (!watchdog_) return;
  clock_ = &clock;
  communicator_ = &communicator;
  clock.Watch([this](std::optional<Phase> phase) { Enter(PhaseOf(phase)); });
  communicator.Watch(
      [this](int sum, bool done) { watchdog_->Sum(done ? kBucketDone : kBucketBegun, sum, done); });
  watchdog_->Guard({.health = [&communicator] { return communicator.Health(); },
                    .abort = [&communicator] { communicator.Abort(); }});
}

void StallWatch::Release() {
  if (watchdog_) watchdog_->Guard({});
  if (auto* clock = std::exchange(clock_, nullptr)) clock->Watch({});
  communicator_ = nullptr;  // a sum may still be under way: the watcher stays, and this outlives it
}

void StallWatch::BeginStep(int64_t step) {
  step_ = step;
  micro_ = 0;
  if (!watchdog_) return;
  watchdog_->NoSum();
  Enter(kStepBegins);
}

void StallWatch::BeginMicroBatch(int64_t micro) { micro_ = micro; }

void StallWatch::FirstStepDone() {
  if (watchdog_) watchdog_->SetUpIsOver();
}

void StallWatch::Progress() {
  if (watchdog_) watchdog_->Progress();
}

StallWatch::During::During(StallWatch& watch, Activity activity)
    : watch_(watch), before_(watch.watchdog_ ? watch.watchdog_->phase() : 0) {
  watch_.Enter(activity);
}

StallWatch::During::~During() { watch_.Enter(before_); }

}  // namespace trainer::engine
