#include "trainer/engine/stop_budget.h"

#include <cmath>
#include <cstdlib>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "trainer/telemetry/log.h"

namespace trainer::engine {
namespace {

constexpr char kVariable[] = "TRAINER_STOP_SECONDS";
// Signals come late, disks are busy, and another save may have to be written first.
constexpr double kNear = 0.5;

}  // namespace

absl::StatusOr<StopBudget> StopBudget::FromEnvironment() {
  StopBudget budget;
  const char* text = std::getenv(kVariable);
  if (text == nullptr) return budget;
  if (!absl::SimpleAtod(text, &budget.limit_) || !std::isfinite(budget.limit_) || budget.limit_ <= 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(kVariable, "=", text,
                     ": set this environment variable to the seconds between a stop "
                     "signal and the end, such as 120, or unset it"));
  }
  return budget;
}

std::optional<std::string> StopBudget::TakeWarning() {
  const double needed = step_ + validation_ + save_;
  if (limit_ == 0 || warned_ || needed <= kNear * limit_) return std::nullopt;
  warned_ = true;
  const auto enough = static_cast<int>(std::ceil(needed / kNear / 10)) * 10 + 10;
  return absl::StrCat("a stop may take ", telemetry::FormatDuration(needed), " (a step ",
                      telemetry::FormatDuration(step_), ", a validation ",
                      telemetry::FormatDuration(validation_), ", a save ", telemetry::FormatDuration(save_),
                      "), and ", kVariable, " gives it ", absl::StrFormat("%g", limit_),
                      " s: let the signal come earlier, under SLURM by sbatch --signal=B:USR1@", enough,
                      ", or the run may be ended before it has saved");
}

}  // namespace trainer::engine
