// Where a run's time went, and other figures over all of its logged lines.
#pragma once

#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "trainer/report/run_reader.h"

namespace trainer::report {

// Seconds of training up to each logged step: steps, validations and checkpoints, without the time in which
// the run did not run. As long as metrics.steps.
std::vector<double> ElapsedSeconds(const Metrics& metrics);

struct PhaseHistory {
  // As in metrics.jsonl, without "_seconds", those that occur; last "other": what a step takes beyond them.
  std::vector<std::string> names;
  std::vector<int64_t> steps;                       // the last step of each stretch
  std::vector<std::vector<double>> seconds_a_step;  // of each stretch, by name: means
  std::vector<double> total_seconds;                // of the run, by name
};

// In at most some `most` stretches of about as many lines.
PhaseHistory PhasesOf(const Metrics& metrics, size_t most);

// part / whole, line by line; not a number where either lacks or whole is 0.
std::vector<double> Ratio(const Metrics& metrics, const std::string& part, const std::string& whole);

// Nullopt where no line has the column.
std::optional<double> LastOf(const Metrics& metrics, const std::string& column);
std::optional<double> MedianOf(const Metrics& metrics, const std::string& column);

}  // namespace trainer::report
