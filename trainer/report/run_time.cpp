#include "trainer/report/run_time.h"

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"
#include "trainer/telemetry/run_figures.h"

namespace trainer::report {
namespace {

using telemetry::Phase;

const std::vector<double>* Find(const Metrics& metrics, const std::string& name) {
  const auto found = metrics.columns.find(name);
  return found == metrics.columns.end() ? nullptr : &found->second;
}

double OrZero(const std::vector<double>* column, size_t i) {
  return column != nullptr && std::isfinite((*column)[i]) ? (*column)[i] : 0;
}

// Steps that line i speaks for.
double StepsOf(const Metrics& metrics, size_t i) {
  return static_cast<double>(metrics.steps[i] - (i == 0 ? 0 : metrics.steps[i - 1]));
}

bool IsPartOfStep(size_t phase) {
  return phase != static_cast<size_t>(Phase::kCheckpoint) && phase != static_cast<size_t>(Phase::kValidation);
}

std::string PhaseColumn(size_t phase) { return absl::StrCat(telemetry::kPhaseNames[phase], "_seconds"); }

std::vector<double> FiniteOf(const Metrics& metrics, const std::string& name) {
  std::vector<double> values;
  if (const auto* column = Find(metrics, name)) {
    std::copy_if(column->begin(), column->end(), std::back_inserter(values),
                 [](double value) { return std::isfinite(value); });
  }
  return values;
}

}  // namespace

std::vector<double> ElapsedSeconds(const Metrics& metrics) {
  const auto* step = Find(metrics, "step_seconds");
  const auto* checkpoint = Find(metrics, PhaseColumn(static_cast<size_t>(Phase::kCheckpoint)));
  const auto* validation = Find(metrics, PhaseColumn(static_cast<size_t>(Phase::kValidation)));
  std::vector<double> elapsed(metrics.steps.size());
  double total = 0;
  for (size_t i = 0; i < elapsed.size(); ++i) {
    total += StepsOf(metrics, i) * (OrZero(step, i) + OrZero(checkpoint, i) + OrZero(validation, i));
    elapsed[i] = total;
  }
  return elapsed;
}

PhaseHistory PhasesOf(const Metrics& metrics, size_t most) {
  PhaseHistory history;
  std::vector<const std::vector<double>*> columns;
  std::vector<bool> in_step;
  for (size_t phase = 0; phase < telemetry::kPhases; ++phase) {
    const auto* column = Find(metrics, PhaseColumn(phase));
    if (column == nullptr) continue;
    history.names.emplace_back(telemetry::kPhaseNames[phase]);
    columns.push_back(column);
    in_step.push_back(IsPartOfStep(phase));
  }
  if (history.names.empty()) return history;
  history.names.emplace_back("other");
  history.total_seconds.assign(history.names.size(), 0);

  const auto* step_seconds = Find(metrics, "step_seconds");
  const size_t lines = metrics.steps.size(), stretches = std::min(lines, std::max<size_t>(most, 1));
  for (size_t s = 0; s < stretches; ++s) {
    std::vector<double> sums(history.names.size(), 0);
    double steps = 0;
    const size_t end = (s + 1) * lines / stretches;
    for (size_t i = s * lines / stretches; i < end; ++i) {
      const double weight = StepsOf(metrics, i);
      double rest = OrZero(step_seconds, i);
      for (size_t c = 0; c < columns.size(); ++c) {
        const double seconds = std::max(OrZero(columns[c], i), 0.0);
        sums[c] += weight * seconds;
        if (in_step[c]) rest -= seconds;
      }
      sums.back() += weight * std::max(rest, 0.0);
      steps += weight;
    }
    for (size_t c = 0; c < sums.size(); ++c) {
      history.total_seconds[c] += sums[c];
      sums[c] = steps > 0 ? sums[c] / steps : 0;
    }
    history.steps.push_back(metrics.steps[end - 1]);
    history.seconds_a_step.push_back(std::move(sums));
  }
  return history;
}

std::vector<double> Ratio(const Metrics& metrics, const std::string& part, const std::string& whole) {
  std::vector<double> ratio(metrics.steps.size(), std::numeric_limits<double>::quiet_NaN());
  const auto *numerator = Find(metrics, part), *denominator = Find(metrics, whole);
  if (numerator == nullptr || denominator == nullptr) return ratio;
  for (size_t i = 0; i < ratio.size(); ++i) {
    if ((*denominator)[i] != 0) ratio[i] = (*numerator)[i] / (*denominator)[i];
  }
  return ratio;
}

std::optional<double> LastOf(const Metrics& metrics, const std::string& column) {
  const auto values = FiniteOf(metrics, column);
  if (values.empty()) return std::nullopt;
  return values.back();
}

std::optional<double> MedianOf(const Metrics& metrics, const std::string& column) {
  auto values = FiniteOf(metrics, column);
  if (values.empty()) return std::nullopt;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace trainer::report
