// The mean of several checkpoints' weights, which often scores better than any of them.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/checkpoint/checkpoint_store.h"

namespace trainer::engine {

// The checkpoints in `folders` (at least one), their parameters and floating-point buffers averaged in
// float64 with equal weight; other buffers, the step and the rest of the state are those of the one with the
// most steps. Without an optimizer's state: to evaluate, or for model.init_from. (Izmailov et al. 2018,
// "Averaging weights leads to wider optima and better generalization".)
//
// kInvalidArgument where two are of different models or speakers; else as CheckpointStore::Load.
absl::StatusOr<checkpoint::Snapshot> AverageCheckpoints(const std::vector<std::string>& folders);

}  // namespace trainer::engine
