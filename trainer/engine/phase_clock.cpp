#include "trainer/engine/phase_clock.h"

#include <utility>

namespace trainer::engine {

std::optional<telemetry::Phase> PhaseClock::Enter(std::optional<telemetry::Phase> phase) {
  if (watcher_) watcher_(phase);
  if (device_.is_cpu() || observer_) {
    const auto now = Clock::now();
    if (phase_ && device_.is_cpu()) {
      seconds_[static_cast<size_t>(*phase_)] += std::chrono::duration<double>(now - since_).count();
    }
    if (phase_ && observer_) observer_(*phase_, since_, now);
    since_ = now;
  }
  if (!device_.is_cpu()) {
    if (spare_.empty()) spare_.emplace_back(device_.type(), c10::EventFlag::BACKEND_DEFAULT);
    auto event = std::move(spare_.back());
    spare_.pop_back();
    event.record(c10::impl::VirtualGuardImpl(device_.type()).getStream(device_));
    marks_.push_back({phase, std::move(event)});
  }
  return std::exchange(phase_, phase);
}

telemetry::PhaseSeconds PhaseClock::Take() {
  while (marks_.size() > 1 && marks_[1].event->query()) {
    auto begin = std::move(marks_.front());
    marks_.pop_front();
    if (begin.phase) {
      const double milliseconds = begin.event->elapsedTime(*marks_.front().event);
      seconds_[static_cast<size_t>(*begin.phase)] += 1e-3 * milliseconds;
    }
    spare_.push_back(std::move(*begin.event));
  }
  return std::exchange(seconds_, {});
}

}  // namespace trainer::engine
