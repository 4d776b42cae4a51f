// Between a live training step and the tensors of a checkpoint.
#pragma once

#include <torch/torch.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "trainer/checkpoint/checkpoint_store.h"
#include "trainer/engine/train_step.h"

namespace trainer::engine {

// Copies of a training step's state in host memory, which is pinned where they come from a device. The memory
// is asked for once, at the first snapshot. One thread.
class SnapshotBuffer {
 public:
  // The model's parameters and buffers by their state_dict names, and the optimizer's moments as
  // "exp_avg.<name>" and "exp_avg_sq.<name>". With an average of the weights, that is what the model's are,
  // and the weights that training goes on with are the optimizer's "value.<name>". `state` is left empty.
  //
  // The tensors are views of this object's memory: the next Take overwrites them. Returns once all is copied;
  // always of the same `step`.
  checkpoint::Snapshot Take(TrainStep& step);

 private:
  checkpoint::Snapshot snapshot_;
  std::vector<std::pair<torch::Tensor, torch::Tensor>> copies_;  // what is copied, and where to
};

// Writes the parameters and buffers in `tensors` into `model`. Names and shapes must be the very same:
// kInvalidArgument names the first that differs, and `source`, where the tensors come from.
absl::Status LoadModelTensors(const checkpoint::NamedTensors& tensors, const std::string& source,
                              torch::nn::Module& model);

// As LoadModelTensors; but a file whose names all begin with "layers." is an encoder's alone, such as the
// weights of the Python package conformer, and goes into model's "encoder.layers.", while the rest stays as
// it is.
absl::Status InitialiseFrom(const checkpoint::NamedTensors& tensors, const std::string& source,
                            torch::nn::Module& model);

// The inverse of SnapshotBuffer::Take; `updates` is the number of updates done when it was taken. Errors as
// LoadModelTensors.
absl::Status RestoreSnapshot(const checkpoint::Snapshot& snapshot, const std::string& source, int64_t updates,
                             TrainStep& step);

}  // namespace trainer::engine
