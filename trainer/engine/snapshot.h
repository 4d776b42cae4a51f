// Between a live training step and the tensors of a checkpoint.
#pragma once

#include <torch/torch.h>

#include <atomic>
#include <future>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "trainer/checkpoint/checkpoint_store.h"
#include "trainer/engine/train_step.h"

namespace trainer::engine {

// A copy of a training step's state in host memory, which is pinned where it comes from a device. The memory
// is asked for once. One thread calls.
//
// Note [Copying beside the next step]
// On the CPU a thread copies parameters, moments and average while the next step runs forward and backward,
// for these only read them: whoever changes them must call Wait() before. What forward changes, the buffers,
// is copied at once; it is little. On a device all is copied at once.
class SnapshotBuffer {
 public:
  ~SnapshotBuffer() { hurry_ = true; }

  // May come once before the first Take, of the same `step`. On the CPU memory that is touched for the first
  // time costs more than the copy into it: a thread of low priority touches it, a page after the other, until
  // Take wants it. Returns at once. On a device it does nothing: there Take itself asks for the memory.
  void Prepare(TrainStep& step);

  // The model's parameters and buffers by their state_dict names, and the optimizer's moments as
  // "exp_avg.<name>" and "exp_avg_sq.<name>". With an average of the weights, that is what the model's are,
  // and the weights that training goes on with are the optimizer's "value.<name>". `state` is left empty.
  //
  // The tensors are views of this object's memory: the next Take overwrites them. They hold the state once
  // complete() is there. Always of the same `step`.
  checkpoint::Snapshot Take(TrainStep& step);

  // When the last snapshot is copied; not valid where Take has copied it.
  const std::shared_future<void>& complete() const { return complete_; }

  // Returns once the last snapshot is copied.
  void Wait() const {
    if (complete_.valid()) complete_.get();
  }

 private:
  struct Copy {
    torch::Tensor live, host;
  };

  void Reserve(TrainStep& step);

  checkpoint::Snapshot snapshot_;
  std::vector<Copy> flat_;           // (P) each
  std::vector<Copy> buffers_;        // the model's
  std::atomic<bool> hurry_ = false;  // no more pages to be touched
  std::future<void> touched_;        // this and the next last: their ends are waited for first
  std::shared_future<void> complete_;
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
