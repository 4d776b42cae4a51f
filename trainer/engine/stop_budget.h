// Whether a run that is asked to stop will have saved before it is ended.
#pragma once

#include <algorithm>
#include <optional>
#include <string>

#include "absl/status/statusor.h"

namespace trainer::engine {

// Whoever ends the run (SLURM at the time limit, say) sends a stop signal some seconds before. These are
// known from the environment variable TRAINER_STOP_SECONDS, which slurm/train.sbatch sets. Meanwhile the run
// must get through the step that it is in, a validation if one is due, and a save.
class StopBudget {
 public:
  // kInvalidArgument where the variable is set to what is no number above 0. Not set: there is no limit.
  static absl::StatusOr<StopBudget> FromEnvironment();

  // What has been measured; the longest counts.
  void CountStep(double seconds) { step_ = std::max(step_, seconds); }
  void CountValidation(double seconds) { validation_ = std::max(validation_, seconds); }
  void CountSave(double seconds) { save_ = std::max(save_, seconds); }

  // Once, where a stop may take more than half of the seconds given: a line that says so, and what to do.
  std::optional<std::string> TakeWarning();

 private:
  double limit_ = 0;  // seconds; 0: none
  bool warned_ = false;
  double step_ = 0, validation_ = 0, save_ = 0;
};

}  // namespace trainer::engine
