// The figures of a step that all ranks share: summed with the gradients, so that they cost no collective of
// their own.
#pragma once

#include <torch/torch.h>

#include <cstdint>

namespace trainer::engine {

// Note [Agreement]
// Whatever one rank learns alone (a stop signal, a shard that cannot be read) must lead to the same decision
// at the same step on every rank, or the others wait for ever in an all-reduce. So each rank adds its vote to
// the tail of the gradient buffer; after the reduction every rank reads the same sums and acts alike.
enum TailSlot : int64_t {
  kLossSum,  // sum over this rank's utterances of the cross entropy, divided by the global batch: sums to the
             // mean
  kCorrect,  // utterances whose largest logit is the right one
  kStopVotes,    // ranks that have been asked to stop
  kFailedRanks,  // ranks whose data could not be had; their gradients are zero
  kTailSize  // behind these stand the model's running statistics, each rank's divided by the number of ranks
};

struct StepFigures {
  double loss = 0;           // mean over the global batch
  double correct = 0;        // utterances of the global batch
  double gradient_norm = 0;  // before clipping
  // Not a number where they were not asked for:
  double weight_norm = 0;  // of all parameters after the update
  double update_norm = 0;  // of what the update has added to them
  bool stop = false;       // at least one rank was asked to stop
  bool failed = false;     // at least one rank failed; it says why itself
};

}  // namespace trainer::engine
