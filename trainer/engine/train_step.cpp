#include "trainer/engine/train_step.h"

#include <ATen/autocast_mode.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "data/random.h"
#include "launcher/error.h"

namespace trainer::engine {
namespace {
constexpr auto kDropout = data::FreePurpose(0);

// On a GPU LibTorch itself takes bfloat16 for what gains by it.
class AutocastScope {
 public:
  explicit AutocastScope(bool on) : on_(on) {
    if (!on_) return;
    at::autocast::set_autocast_dtype(at::kCUDA, at::kBFloat16);
    at::autocast::set_autocast_enabled(at::kCUDA, true);
  }
  ~AutocastScope() {
    if (!on_) return;
    at::autocast::set_autocast_enabled(at::kCUDA, false);
    at::autocast::clear_cache();
  }
  AutocastScope(const AutocastScope&) = delete;
  AutocastScope& operator=(const AutocastScope&) = delete;

 private:
  bool on_;
};

// An event that comes when the device's current stream has done all that is queued on it now.
torch::Event RecordEvent(torch::Device device) {
  torch::Event event(device.type());
  event.record(c10::impl::VirtualGuardImpl(device.type()).getStream(device));
  return event;
}

// Re-seats the model's floating-point buffers as views into one new tensor and returns that.
torch::Tensor FlattenBuffers(torch::nn::Module& model, torch::Device device) {
  torch::NoGradGuard no_grad;
  std::vector<torch::Tensor> buffers;
  int64_t size = 0;
  for (auto& buffer : model.buffers()) {
    if (!buffer.is_floating_point()) continue;
    buffers.push_back(buffer);
    size += buffer.numel();
  }
  auto flat = torch::empty({size}, torch::TensorOptions().dtype(torch::kFloat32).device(device));
  int64_t offset = 0;
  for (auto& buffer : buffers) {
    auto view = flat.narrow(0, offset, buffer.numel()).view(buffer.sizes());
    view.copy_(buffer);
    offset += buffer.numel();
    buffer.set_data(view);
  }
  return flat;
}

}  // namespace

TrainStep::TrainStep(std::shared_ptr<model::Classifier> model, launcher::Communicator& communicator,
                     const launcher::World& world, const TrainStepOptions& options)
    : model_(std::move(model)),
      communicator_(communicator),
      world_(world),
      options_(options),
      device_(model_->parameters().at(0).device()),
      clock_(device_),
      loss_(options.loss),
      running_(FlattenBuffers(*model_, device_)),
      parameters_(
          *model_, kTailSize + running_.numel(),
          [&](int64_t count, torch::Device device) { return communicator.MakeBuffer(count, device); }),
      optimizer_(parameters_, options.adamw),
      reducer_(parameters_, communicator, options.buckets),
      needs_every_rank_(world.size > 1 && model_->HasSynchronisedNorms()) {
  if (needs_every_rank_) {
    model_->Synchronise([this](const torch::Tensor& sum) {
      const auto phase = clock_.Enter(telemetry::Phase::kExposedCommunication);
      communicator_.StartAllReduce(sum);
      communicator_.WaitAll();
      clock_.Enter(phase);
    });
  }
  if (options.ema_decay > 0) {
    average_ = torch::empty_like(parameters_.values());
    ResetAverage();
  }
}

void TrainStep::ResetAverage() {
  torch::NoGradGuard no_grad;
  if (average_.defined()) average_.copy_(parameters_.values());
}

void TrainStep::SwapAverage() {
  torch::NoGradGuard no_grad;
  if (!average_.defined()) return;
  auto values = parameters_.values();
  const auto kept = values.clone();
  values.copy_(average_);
  average_.copy_(kept);
}

void TrainStep::Begin(int64_t step) {
  torch::NoGradGuard no_grad;
  model_->train();
  number_ = step;
  auto buffer = parameters_.gradients_and_tail();
  buffer.zero_();
  utterances_ = 0;
  // Of the global batch, and of this rank's share for what is drawn from LibTorch's generators (on a GPU).
  dropout_key_ = data::RandomStream(options_.seed, kDropout, 0, static_cast<uint64_t>(step)).Next64();
  torch::manual_seed(dropout_key_ + static_cast<uint64_t>(world_.rank));
}

void TrainStep::AddMicroBatch(const data::Batch& batch, bool last) {
  clock_.Enter(telemetry::Phase::kHostToDevice);
  const auto to_device = [this](const torch::Tensor& t) { return t.to(device_, /*non_blocking=*/true); };
  const auto mels = to_device(batch.mels);
  const auto speakers = to_device(batch.speakers);
  const auto lengths = batch.padded ? to_device(batch.lengths) : torch::Tensor();
  if (!device_.is_cpu()) copied_ = RecordEvent(device_);
  clock_.Enter(telemetry::Phase::kForward);
  const int64_t first = world_.rank * (options_.global_batch / world_.size) + utterances_;
  utterances_ += batch.mels.size(0);
  torch::Tensor logits;
  {
    auto how = options_.kernels;
    how.accumulate = how.fused;
    const kernels::SettingsScope settings(how);
    const kernels::DropoutScope dropout(dropout_key_, first);
    const AutocastScope autocast(!device_.is_cpu() &&
                                 options_.kernels.precision == kernels::Precision::kBFloat16);
    logits = model_->Forward(mels, lengths).to(torch::kFloat32);
  }
  const auto loss =
      loss_.Sum(logits, speakers, loss_.MarginAt(number_)) / static_cast<double>(options_.global_batch);
  {
    torch::NoGradGuard no_grad;
    parameters_.tail()[kLossSum].add_(loss.detach());
    parameters_.tail()[kCorrect].add_(logits.argmax(1).eq(speakers).sum());
    if (last && world_.size > 1) {
      parameters_.tail().narrow(0, kTailSize, running_.numel()).copy_(running_).div_(world_.size);
    }
  }
  clock_.Enter(telemetry::Phase::kBackward);
  if (last) reducer_.Arm();
  loss.backward();
  clock_.Leave();
}

void TrainStep::WaitForCopies() {
  if (copied_) copied_->synchronize();
}

void TrainStep::VoteStop() {
  TORCH_CHECK(!reducer_.armed(), "a vote after the last micro-batch would race with its own reduction");
  torch::NoGradGuard no_grad;
  parameters_.tail()[kStopVotes].fill_(1);
}

void TrainStep::VoteFailed() {
  TORCH_CHECK(!reducer_.armed(), "a vote after the last micro-batch would race with its own reduction");
  torch::NoGradGuard no_grad;
  parameters_.tail()[kFailedRanks].fill_(1);
}

void TrainStep::Finish(double learning_rate, bool measure_norms) {
  torch::NoGradGuard no_grad;
  clock_.Enter(telemetry::Phase::kExposedCommunication);
  reducer_.Finish();
  clock_.Enter(telemetry::Phase::kOptimizer);
  if (world_.size > 1) running_.copy_(parameters_.tail().narrow(0, kTailSize, running_.numel()));
  const auto step = optimizer_.Step(learning_rate, measure_norms);
  if (average_.defined()) {
    const auto updates = static_cast<double>(number_ + 1);
    average_.lerp_(parameters_.values(), 1 - std::min(options_.ema_decay, (1 + updates) / (10 + updates)));
  }
  const auto& values = parameters_.values();
  const auto norms = measure_norms ? torch::stack({values.norm(), step.update})
                                   : torch::full({2}, telemetry::kUnknown, values.options());
  const auto figures =
      torch::cat({parameters_.tail().narrow(0, 0, kTailSize), step.gradient.reshape({1}), norms});
  Pending pending;
  if (device_.is_cpu()) {
    pending.host = figures;
  } else {
    pending.host = torch::empty(figures.sizes(), torch::TensorOptions().pinned_memory(true));
    pending.host.copy_(figures, /*non_blocking=*/true);
    pending.ready = RecordEvent(device_);
  }
  pending_.push_back(std::move(pending));
  clock_.Leave();
}

std::optional<StepFigures> TrainStep::TakeFigures(bool flush) {
  const size_t kept_back = device_.is_cpu() || flush ? 0 : 1;
  if (pending_.size() <= kept_back) return std::nullopt;
  Pending pending = std::move(pending_.front());
  pending_.pop_front();
  // Not Event::synchronize: where a peer is gone, the device would wait for it for ever.
  while (pending.ready && !pending.ready->query()) {
    if (const auto health = communicator_.Health(); !health.ok())
      throw launcher::Error(std::string(health.message()));
    std::this_thread::sleep_for(std::chrono::microseconds(20));
  }
  const auto* host = pending.host.const_data_ptr<float>();
  StepFigures figures;
  figures.loss = host[kLossSum];
  figures.correct = host[kCorrect];
  figures.gradient_norm = host[kTailSize];
  figures.weight_norm = host[kTailSize + 1];
  figures.update_norm = host[kTailSize + 2];
  figures.stop = host[kStopVotes] > 0;
  figures.failed = host[kFailedRanks] > 0;
  return figures;
}

}  // namespace trainer::engine
