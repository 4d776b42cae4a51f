// One training step: forward, backward with overlapped all-reduce, clip, AdamW.
#pragma once

#include <torch/torch.h>

#include <deque>
#include <memory>
#include <optional>

#include "data/loader.h"
#include "launcher/communicator.h"
#include "launcher/mpi_session.h"
#include "trainer/engine/gradient_reducer.h"
#include "trainer/engine/phase_clock.h"
#include "trainer/engine/step_tail.h"
#include "trainer/kernels/context.h"
#include "trainer/model/classifier.h"
#include "trainer/model/loss.h"
#include "trainer/optim/adamw.h"
#include "trainer/optim/flat_parameters.h"

namespace trainer::engine {

struct TrainStepOptions {
  uint64_t seed;         // of dropout
  int64_t global_batch;  // utterances an update, over all ranks and micro-batches
  BucketOptions buckets;
  optim::AdamWOptions adamw;
  config::Config::Loss loss;
  double ema_decay = 0;  // of the average of the weights; 0: none is kept
  kernels::Settings kernels{};
};

// Owns the flat parameters, the optimizer and the reducer of a model that is on its final device. One thread.
//
// A step is: Begin; AddMicroBatch once for each micro-batch; Finish. On a CUDA device all of it is queued and
// nothing waits for the device; the figures of a step then arrive one step late, see TakeFigures.
//
// Note [Running statistics]
// A batch norm normalises by its own rank's utterances (unless it is synchronised) and keeps running means of
// their statistics. After each step all ranks take the mean of the ranks' running means, which is the running
// mean of the ranks' mean statistics. It travels in the tail with the last bucket. So evaluation and
// checkpoints see all data, and all ranks the same model.
class TrainStep {
 public:
  TrainStep(std::shared_ptr<model::Classifier> model, launcher::Communicator& communicator,
            const launcher::World& world, const TrainStepOptions& options);

  // Starts the update number `step` (from 0): zeroes the gradients and keys dropout by (seed, step).
  void Begin(int64_t step);

  // Forward and backward of one micro-batch. `last`: the batch is complete with it, its gradients may be
  // reduced.
  void AddMicroBatch(const data::Batch& batch, bool last);

  // Returns once no copy to the device still reads the batch of the last AddMicroBatch, so that the loader
  // may reuse it.
  void WaitForCopies();

  // Votes, instead of a micro-batch or beside it, that all ranks stop (on request) or give up (this rank
  // failed).
  void VoteStop();
  void VoteFailed();

  // Whether a rank without a batch must still call AddMicroBatch, with any batch: the model communicates in
  // forward and backward, and the others would wait.
  bool needs_every_rank() const { return needs_every_rank_; }

  // Waits for the reductions and updates the parameters with `learning_rate`, then the average of the
  // weights. `measure_norms`: the step's figures shall hold the norms of weights and update, too.
  void Finish(double learning_rate, bool measure_norms = false);

  // The figures of the oldest finished step not yet taken. On the CPU that is the step just finished. On CUDA
  // it is the one before, so that the device never idles, unless `flush` asks to wait for all. Nothing: none
  // is ready. All ranks get the same figures from the same calls.
  std::optional<StepFigures> TakeFigures(bool flush);

  // The exponential moving average of the weights, (P) in the parameters' layout; undefined where none is
  // kept. With the number of updates t it moves by 1 - min(ema_decay, (1 + t) / (10 + t)), so that the
  // initial weights are soon forgotten.
  const torch::Tensor& average() const { return average_; }

  // Starts the average anew from the current parameters.
  void ResetAverage();

  // Exchanges the parameters with the average, if there is one: call it again to go back.
  void SwapAverage();

  // Divides the time into the phases of a step.
  PhaseClock& clock() { return clock_; }

  model::Classifier& model() { return *model_; }
  const optim::FlatParameters& parameters() const { return parameters_; }
  optim::AdamW& optimizer() { return optimizer_; }

 private:
  struct Pending {
    torch::Tensor host;  // (kTailSize + 3): the tail, then the norms of gradient, weights, update
    std::optional<torch::Event> ready;  // CUDA: host is filled
  };

  std::shared_ptr<model::Classifier> model_;
  launcher::Communicator& communicator_;
  launcher::World world_;
  TrainStepOptions options_;
  torch::Device device_;
  PhaseClock clock_;
  model::Loss loss_;
  torch::Tensor running_;  // (R): all of the model's floating-point buffers, which are views into it
  optim::FlatParameters parameters_;
  optim::AdamW optimizer_;
  GradientReducer reducer_;
  std::optional<torch::Event> copied_;  // CUDA: the last batch is on the device
  std::deque<Pending> pending_;
  int64_t number_ = 0;  // of the current step
  uint64_t dropout_key_ = 0;
  int64_t utterances_ = 0;  // of this rank, in the current step so far
  bool needs_every_rank_;
  torch::Tensor average_;
};

}  // namespace trainer::engine
