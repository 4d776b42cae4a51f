#include "trainer/model/norm.h"

#include "trainer/kernels/fused.h"

namespace trainer::model {
namespace {

constexpr double kEpsilon = 1e-5;
constexpr double kMomentum = 0.1;

// The sum over all ranks as a differentiable function. As the ranks' losses add up to the loss, the gradient
// of a rank's summand is the sum of the ranks' gradients of the sum.
class SumOverRanks : public torch::autograd::Function<SumOverRanks> {
 public:
  static torch::Tensor forward(torch::autograd::AutogradContext* context, const torch::Tensor& x,
                               const AllReduce* all_reduce) {
    context->saved_data["all_reduce"] = reinterpret_cast<int64_t>(all_reduce);
    auto sum = x.clone(at::MemoryFormat::Contiguous);
    (*all_reduce)(sum);
    return sum;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto* all_reduce = reinterpret_cast<const AllReduce*>(context->saved_data["all_reduce"].toInt());
    auto gradient = gradients[0].clone(at::MemoryFormat::Contiguous);
    (*all_reduce)(gradient);
    return {gradient, torch::Tensor()};
  }
};

}  // namespace

BatchNorm::BatchNorm(int64_t features, bool synchronised) : synchronised_(synchronised) {
  weight_ = register_parameter("weight", torch::ones({features}));
  bias_ = register_parameter("bias", torch::zeros({features}));
  running_mean_ = register_buffer("running_mean", torch::zeros({features}));
  running_var_ = register_buffer("running_var", torch::ones({features}));
  num_batches_tracked_ = register_buffer("num_batches_tracked", torch::zeros({}, torch::kInt64));
}

void BatchNorm::Synchronise(std::shared_ptr<const AllReduce> all_reduce) {
  if (synchronised_) all_reduce_ = std::move(all_reduce);
}

torch::Tensor BatchNorm::Forward(const torch::Tensor& x, const torch::Tensor& mask) {
  if (is_training()) {
    torch::NoGradGuard no_grad;
    num_batches_tracked_.add_(1);
  }
  const bool over_ranks = all_reduce_ != nullptr;
  // PyTorch's kernel makes the running variance of a single row NaN.
  const bool single = x.numel() == x.size(-1);
  if (is_training() && (mask.defined() || over_ranks || single)) return Train(x, mask);
  return at::batch_norm(x.reshape({-1, x.size(-1)}), weight_, bias_, running_mean_, running_var_,
                        is_training(), kMomentum, kEpsilon, /*cudnn_enabled=*/true)
      .view(x.sizes());
}

torch::Tensor BatchNorm::Train(const torch::Tensor& x, const torch::Tensor& mask) {
  const auto rows = x.reshape({-1, x.size(-1)});
  const auto real = mask.defined() ? mask.reshape({-1, 1}) : torch::Tensor();
  const auto over_ranks = [this](const torch::Tensor& sum) {
    return all_reduce_ ? SumOverRanks::apply(sum, all_reduce_.get()) : sum;
  };
  const auto sum_of = [&](const torch::Tensor& values) {
    return (real.defined() ? values.masked_fill(real.logical_not(), 0) : values).sum(0);
  };
  const auto local_count = real.defined()
                               ? real.sum(0).to(rows.scalar_type())
                               : torch::full({1}, static_cast<double>(rows.size(0)), rows.options());
  // Two sums rather than one of values and squares: those cancel where the mean is large.
  const auto first = over_ranks(torch::cat({sum_of(rows), local_count}));
  const auto count = first.slice(0, -1).detach();
  const auto centred = rows - first.slice(0, 0, -1) / count;
  const auto variance = over_ranks(sum_of(centred.square())) / count;
  Track(first.slice(0, 0, -1) / count, variance, count);
  return (centred * (variance + kEpsilon).rsqrt() * weight_ + bias_).view(x.sizes());
}

// Moves the running statistics towards those of a batch; `variance` is biased.
void BatchNorm::Track(const torch::Tensor& mean, const torch::Tensor& variance, const torch::Tensor& count) {
  torch::NoGradGuard no_grad;
  running_mean_.lerp_(mean, kMomentum);
  running_var_.lerp_(variance * (count / (count - 1).clamp_min(1)), kMomentum);
}

torch::Tensor BatchNorm::ForwardSilu(const torch::Tensor& x, const torch::Tensor& mask) {
  if (!is_training() || !kernels::UseFused(x))
    return at::silu(Forward(x.to(torch::kFloat32), mask)).to(x.scalar_type());
  {
    torch::NoGradGuard no_grad;
    num_batches_tracked_.add_(1);
  }
  const auto [y, moments] =
      kernels::BatchNormSilu(x, mask.defined() ? mask.reshape({-1}) : mask, weight_, bias_, all_reduce_);
  Track(moments.mean, moments.variance, moments.count);
  return y;
}

Norm::Norm(const std::string& kind, int64_t features, const std::string& name, torch::nn::Module& parent) {
  if (kind == "batch" || kind == "sync_batch") {
    batch_ = parent.register_module(name, std::make_shared<BatchNorm>(features, kind == "sync_batch"));
  } else if (kind == "layer") {
    layer_ = parent.register_module(name, torch::nn::LayerNorm(torch::nn::LayerNormOptions({features})));
  } else {
    TORCH_CHECK(kind == "none", "there is no norm '", kind, "'");
  }
}

torch::Tensor Norm::Forward(const torch::Tensor& x, const torch::Tensor& mask) {
  if (batch_) return batch_->Forward(x, mask);
  return layer_ ? layer_(x) : x;
}

torch::Tensor Norm::ForwardSilu(const torch::Tensor& x, const torch::Tensor& mask) {
  return batch_ ? batch_->ForwardSilu(x, mask) : at::silu(Forward(x, mask));
}

}  // namespace trainer::model
