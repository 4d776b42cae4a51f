// Between a live training step and the tensors of a checkpoint.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "trainer/checkpoint/checkpoint_store.h"
#include "trainer/engine/train_step.h"

namespace trainer::engine {

// The model's parameters and buffers by their state_dict names, and the optimizer's moments as
// "exp_avg.<name>" and "exp_avg_sq.<name>". With an average of the weights, that is what the model's are, and
// the weights that training goes on with are the optimizer's "value.<name>". Copies on the CPU. Synchronises
// with the device. `state` is left empty.
checkpoint::Snapshot TakeSnapshot(TrainStep& step);

// Writes the parameters and buffers in `tensors` into `model`. Names and shapes must be the very same:
// kInvalidArgument names the first that differs, and `source`, where the tensors come from.
absl::Status LoadModelTensors(const checkpoint::NamedTensors& tensors, const std::string& source,
                              torch::nn::Module& model);

// As LoadModelTensors; but a file whose names all begin with "layers." is an encoder's alone, such as the
// weights of the Python package conformer, and goes into model's "encoder.layers.", while the rest stays as
// it is.
absl::Status InitialiseFrom(const checkpoint::NamedTensors& tensors, const std::string& source,
                            torch::nn::Module& model);

// The inverse of TakeSnapshot; `updates` is the number of updates done when it was taken. Errors as
// LoadModelTensors.
absl::Status RestoreSnapshot(const checkpoint::Snapshot& snapshot, const std::string& source, int64_t updates,
                             TrainStep& step);

}  // namespace trainer::engine
