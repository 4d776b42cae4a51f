#include "trainer/engine/gradient_reducer.h"

#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/utils/lambda_post_hook.h>
#include <torch/csrc/autograd/variable.h>

namespace trainer::engine {

GradientReducer::GradientReducer(const optim::FlatParameters& parameters,
                                 launcher::Communicator& communicator, const BucketOptions& options)
    : communicator_(communicator) {
  const auto& slots = parameters.slots();
  const auto elements = [](double mib) { return static_cast<int64_t>(mib * 1024 * 1024 / sizeof(float)); };
  const auto& buffer = parameters.gradients_and_tail();

  std::vector<size_t> bucket_of(slots.size());
  int64_t begin = 0;
  for (size_t i = 0; i < slots.size(); ++i) {
    if (buckets_.empty() ||
        slots[i].offset - begin >=
            elements(buckets_.size() == 1 ? options.first_bucket_mib : options.bucket_mib)) {
      if (!buckets_.empty()) buckets_.back().slice = buffer.slice(0, begin, slots[i].offset);
      begin = slots[i].offset;
      buckets_.emplace_back();
    }
    ++buckets_.back().parameters;
    bucket_of[i] = buckets_.size() - 1;
  }
  buckets_.back().slice = buffer.slice(0, begin, buffer.size(0));

  for (size_t i = 0; i < slots.size(); ++i) {
    auto accumulator = torch::autograd::impl::grad_accumulator(slots[i].parameter);
    hooks_.push_back(accumulator->add_post_hook(std::make_unique<torch::autograd::utils::LambdaPostHook>(
        [this, bucket = bucket_of[i]](const torch::autograd::variable_list& outputs,
                                      const torch::autograd::variable_list&) {
          OnGradient(bucket);
          return outputs;
        })));
    accumulators_.push_back(std::move(accumulator));
  }
}

GradientReducer::~GradientReducer() {
  for (size_t i = 0; i < accumulators_.size(); ++i) accumulators_[i]->del_post_hook(hooks_[i]);
}

void GradientReducer::Arm() {
  armed_ = true;
  next_ = 0;
  for (auto& bucket : buckets_) bucket.missing = bucket.parameters;
}

void GradientReducer::OnGradient(size_t bucket) {
  if (!armed_) return;
  --buckets_[bucket].missing;
  StartReady();
}

void GradientReducer::StartReady() {
  while (next_ < buckets_.size() && buckets_[next_].missing == 0) {
    communicator_.StartAllReduce(buckets_[next_++].slice);
  }
}

void GradientReducer::Finish() {
  if (!armed_) Arm();
  for (auto& bucket : buckets_) bucket.missing = 0;
  StartReady();
  armed_ = false;
  communicator_.WaitAll();
}

}  // namespace trainer::engine
