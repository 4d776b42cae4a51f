// Buckets of gradients, all-reduced while backward goes on.
#pragma once

#include <torch/torch.h>

#include <memory>
#include <vector>

#include "launcher/communicator.h"
#include "trainer/optim/flat_parameters.h"

namespace trainer::engine {

struct BucketOptions {
  double first_bucket_mib;  // small: its all-reduce starts early
  double bucket_mib;
};

// Note [Overlap]
// A hook on each parameter's gradient accumulator counts its bucket down. When the buckets before it have
// been started too (all ranks must start the same slices in the same order), a full bucket is all-reduced at
// once, and backward goes on with the earlier layers. The last bucket takes the tail of the buffer along; see
// Note [Agreement].
//
// Not thread-safe, but the hooks may run in autograd's device thread: backward() returns after the last of
// them.
class GradientReducer {
 public:
  // `parameters` and `communicator` must outlive the reducer.
  GradientReducer(const optim::FlatParameters& parameters, launcher::Communicator& communicator,
                  const BucketOptions& options);
  ~GradientReducer();

  // Before the backward pass whose gradients complete the batch (the last micro-batch under accumulation):
  // from now on full buckets are reduced.
  void Arm();

  // After that backward pass, or instead of it on a rank that has no gradients to give: starts what has not
  // been started and waits as Communicator::WaitAll does.
  void Finish();

  // Whether slices may be on their way: between Arm() and the end of Finish() the buffer must be left alone.
  bool armed() const { return armed_; }

  int64_t buckets() const { return static_cast<int64_t>(buckets_.size()); }

 private:
  struct Bucket {
    torch::Tensor slice;
    int64_t parameters = 0;
    int64_t missing = 0;
  };

  void OnGradient(size_t bucket);
  void StartReady();

  launcher::Communicator& communicator_;
  std::vector<Bucket> buckets_;
  size_t next_ = 0;  // the first bucket that has not been started
  bool armed_ = false;
  // Autograd holds accumulators weakly: without these the hooks would vanish.
  std::vector<std::shared_ptr<torch::autograd::Node>> accumulators_;
  std::vector<uintptr_t> hooks_;
};

}  // namespace trainer::engine
