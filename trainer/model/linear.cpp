#include "trainer/model/linear.h"

#include <ATen/core/dispatch/Dispatcher.h>

#include <optional>
#include <string_view>

namespace trainer::model {
namespace {

// a (M, K) b (N, K)^T + bias (N) by oneDNN; any strides.
torch::Tensor Multiply(const torch::Tensor& a, const torch::Tensor& b,
                       const std::optional<torch::Tensor>& bias) {
  using Signature =
      torch::Tensor(const torch::Tensor&, const torch::Tensor&, const std::optional<torch::Tensor>&,
                    std::string_view, c10::List<std::optional<at::Scalar>>, std::optional<std::string_view>);
  static const auto op =
      c10::Dispatcher::singleton().findSchemaOrThrow("mkldnn::_linear_pointwise", "").typed<Signature>();
  return op.call(a, b, bias, "none", c10::List<std::optional<at::Scalar>>(), "");
}

class OneDnnLinear : public torch::autograd::Function<OneDnnLinear> {
 public:
  static torch::Tensor forward(torch::autograd::AutogradContext* context, const torch::Tensor& x,
                               const torch::Tensor& weight, const std::optional<torch::Tensor>& bias) {
    context->save_for_backward({x, weight});
    context->saved_data["bias"] = bias.has_value();
    return Multiply(x, weight, bias);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const auto &x = saved[0], &weight = saved[1];
    const auto& d_output = gradients[0];
    torch::Tensor d_x, d_weight, d_bias;
    if (context->needs_input_grad(0)) d_x = Multiply(d_output, weight.t(), std::nullopt);
    if (context->needs_input_grad(1)) d_weight = Multiply(d_output.t(), x.t(), std::nullopt);
    if (context->saved_data["bias"].toBool()) d_bias = d_output.sum(0);
    return {d_x, d_weight, d_bias};
  }
};

}  // namespace

torch::Tensor Linear(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias) {
  if (!x.is_cpu() || !at::globalContext().hasMKLDNN()) return at::linear(x, weight, bias);
  const auto rows = x.reshape({-1, x.size(-1)});
  const auto optional_bias = bias.defined() ? std::optional<torch::Tensor>(bias) : std::nullopt;
  const auto y = torch::GradMode::is_enabled() ? OneDnnLinear::apply(rows, weight, optional_bias)
                                               : Multiply(rows, weight, optional_bias);
  auto sizes = x.sizes().vec();
  sizes.back() = weight.size(0);
  return y.view(sizes);
}

}  // namespace trainer::model
