// How long each phase of a step takes, without making host or device wait for each other.
#pragma once

#include <torch/torch.h>

#include <chrono>
#include <deque>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "trainer/telemetry/run_figures.h"

namespace trainer::engine {

// Divides time into phases by marks that the code sets as it goes. On the CPU a mark reads the clock. On a
// CUDA device it is an event in the current stream, so that a phase is as long as the device was at it, and
// kDataWait is how long the device stood still until the next batch had come. One thread.
class PhaseClock {
 public:
  explicit PhaseClock(torch::Device device) : device_(device) {}

  // From here on it is `phase`, until the next mark. Returns the phase that it was: nothing where that was
  // none.
  std::optional<telemetry::Phase> Enter(std::optional<telemetry::Phase> phase);

  // From here on it is no phase.
  void Leave() { Enter(std::nullopt); }

  // Seconds in each phase since the last call. On CUDA what the device has not got past yet is counted by a
  // later call; a phase that is not over yet too.
  telemetry::PhaseSeconds Take();

  // Told of a phase that the host has left: on CUDA, where it only queues the work, that is no measure of it.
  using Clock = std::chrono::steady_clock;
  using Observer = std::function<void(telemetry::Phase, Clock::time_point start, Clock::time_point end)>;

  // Told of each mark that the host sets, as Enter() gets it.
  using Watcher = std::function<void(std::optional<telemetry::Phase>)>;
  void Watch(Watcher watcher) { watcher_ = std::move(watcher); }

  // From now on, which must be in no phase, `observer` is told; an empty one ends that.
  void Observe(Observer observer) { observer_ = std::move(observer); }

 private:
  struct Mark {
    std::optional<telemetry::Phase> phase;  // that begins here
    std::optional<torch::Event> event;
  };

  torch::Device device_;
  telemetry::PhaseSeconds seconds_{};
  std::optional<telemetry::Phase> phase_;  // now
  Clock::time_point since_{};              // CPU, or with an observer: when it began
  std::deque<Mark> marks_;                 // CUDA: not yet counted, oldest first
  std::vector<torch::Event> spare_;        // CUDA: events to be used again
  Observer observer_;
  Watcher watcher_;
};

}  // namespace trainer::engine
