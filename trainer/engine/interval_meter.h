// Sums of a step's figures and times from one log line to the next.
#pragma once

#include <chrono>
#include <cstdint>

#include "trainer/engine/step_tail.h"

namespace trainer::engine {

// Seconds since it was made or restarted.
class Stopwatch {
 public:
  double Seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }
  void Restart() { start_ = std::chrono::steady_clock::now(); }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// The clock runs from Restart(); excluded_seconds is what was no step (a validation, a checkpoint).
struct IntervalMeter {
  int64_t steps = 0;
  double loss = 0, correct = 0;  // sums
  double gradient_norm = 0;      // the latest
  double data_wait_seconds = 0, exposed_communication_seconds = 0, excluded_seconds = 0;
  Stopwatch clock;

  void Add(const StepFigures& figures) {
    ++steps;
    loss += figures.loss;
    correct += figures.correct;
    gradient_norm = figures.gradient_norm;
  }
  double StepSeconds() const {
    return steps == 0 ? 0 : (clock.Seconds() - excluded_seconds) / static_cast<double>(steps);
  }
  void Restart() { *this = IntervalMeter(); }
};

}  // namespace trainer::engine
