#include "trainer/kernels/linear.h"

#include <ATen/core/dispatch/Dispatcher.h>

#include <algorithm>
#include <optional>
#include <string_view>

#include "trainer/kernels/context.h"

namespace at::native {
// result = alpha a b + beta result, float32, by oneDNN; any strides. LibTorch exports it, but none of its
// headers has it: null with a LibTorch that lacks it. Throws, also for float32, where OneDnnHasBFloat16() is
// false.
__attribute__((weak)) void mkldnn_matmul(const at::Tensor& a, const at::Tensor& b, const at::Tensor& result,
                                         float beta, float alpha);
}  // namespace at::native

namespace trainer::kernels {
namespace {

// oneDNN multiplies bfloat16 on processors with AVX-512; elsewhere LibTorch's own loops do, slowly.
bool OneDnnHasBFloat16() {
  static const bool has = c10::Dispatcher::singleton()
                              .findSchemaOrThrow("mkldnn::_is_mkldnn_bf16_supported", "")
                              .typed<bool()>()
                              .call();
  return has;
}

// a (M, K) b (N, K)^T + bias (N); any strides.
torch::Tensor Multiply(const torch::Tensor& a, const torch::Tensor& b,
                       const std::optional<torch::Tensor>& bias) {
  if (a.scalar_type() == torch::kBFloat16 && !OneDnnHasBFloat16()) {
    const auto product = at::mm(a, b.t());
    return bias ? product + *bias : product;
  }
  using Signature =
      torch::Tensor(const torch::Tensor&, const torch::Tensor&, const std::optional<torch::Tensor>&,
                    std::string_view, c10::List<std::optional<at::Scalar>>, std::optional<std::string_view>);
  static const auto op =
      c10::Dispatcher::singleton().findSchemaOrThrow("mkldnn::_linear_pointwise", "").typed<Signature>();
  return op.call(a, b, bias, "none", c10::List<std::optional<at::Scalar>>(), "");
}

class FusedLinear : public torch::autograd::Function<FusedLinear> {
 public:
  static torch::Tensor forward(torch::autograd::AutogradContext* context, const torch::Tensor& x_in,
                               const torch::Tensor& weight_in, const std::optional<torch::Tensor>& bias_in,
                               bool bfloat16) {
    const auto type = bfloat16 ? torch::kBFloat16 : torch::kFloat32;
    const auto x = x_in.to(type), weight = weight_in.flatten(1).to(type);
    const auto bias = bias_in ? std::optional<torch::Tensor>(bias_in->to(type)) : std::nullopt;
    context->save_for_backward({x, weight, weight_in});
    context->saved_data["bias"] = bias.has_value();
    context->saved_data["accumulate"] = CurrentSettings().accumulate;
    context->saved_data["mkl"] = !bfloat16 && CurrentSettings().backward == Library::kMkl;
    return Multiply(x, weight, bias);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const auto &x = saved[0], &weight = saved[1], &parameter = saved[2];
    const auto& d_output = gradients[0];
    const bool mkl = context->saved_data["mkl"].toBool();
    torch::Tensor d_x, d_weight, d_bias;
    if (context->needs_input_grad(0)) {
      d_x = mkl ? at::mm(d_output, weight) : Multiply(d_output, weight.t(), std::nullopt);
    }
    if (context->needs_input_grad(1)) {
      const bool add = context->saved_data["accumulate"].toBool() && parameter.is_leaf() &&
                       parameter.grad().defined() && parameter.grad().is_contiguous() &&
                       HasFewRows(d_output, x) && (mkl || OneDnnCanAdd());
      if (!add) {
        d_weight = WeightGradient(d_output, x, mkl).view(parameter.sizes());
      } else if (mkl) {
        parameter.grad().flatten(1).addmm_(d_output.t(), x);
      } else {
        at::native::mkldnn_matmul(d_output.t(), x, parameter.grad().flatten(1), 1, 1);
      }
    }
    if (context->saved_data["bias"].toBool()) d_bias = d_output.sum({0}, false, torch::kFloat32);
    return {d_x, d_weight, d_bias, {}};
  }

 private:
  // Whether it pays to add in place: see Note [Gradients of weights].
  static bool HasFewRows(const torch::Tensor& d_output, const torch::Tensor& x) {
    return x.scalar_type() == torch::kFloat32 && x.size(0) <= std::max(x.size(1), d_output.size(1));
  }

  static bool OneDnnCanAdd() { return at::native::mkldnn_matmul != nullptr && OneDnnHasBFloat16(); }

  // d_output (M, O)^T x (M, I). In float32 both libraries are quicker where the product has fewer rows than
  // columns, MKL only where these rows are few: else adding a transposed gradient costs as much.
  static torch::Tensor WeightGradient(const torch::Tensor& d_output, const torch::Tensor& x, bool mkl) {
    constexpr int64_t kFewForMkl = 256;
    if (x.scalar_type() == torch::kBFloat16) return at::mm(d_output.t(), x);
    const auto multiply = [mkl](const torch::Tensor& a, const torch::Tensor& b) {
      return mkl ? at::mm(a.t(), b) : Multiply(a.t(), b.t(), std::nullopt);
    };
    const bool as_it_is = d_output.size(1) <= x.size(1) || (mkl && x.size(1) > kFewForMkl);
    return as_it_is ? multiply(d_output, x) : multiply(x, d_output).t();
  }
};

}  // namespace

torch::Tensor Linear(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias) {
  if (!x.is_cpu() || !at::globalContext().hasMKLDNN()) return at::linear(x, weight.flatten(1), bias);
  const auto rows = x.reshape({-1, x.size(-1)});
  const bool bfloat16 = CurrentSettings().precision == Precision::kBFloat16;
  const auto optional_bias = bias.defined() ? std::optional<torch::Tensor>(bias) : std::nullopt;
  const auto y = torch::GradMode::is_enabled() ? FusedLinear::apply(rows, weight, optional_bias, bfloat16)
                                               : Multiply(rows, weight.flatten(1), optional_bias);
  auto sizes = x.sizes().vec();
  sizes.back() = weight.size(0);
  return y.view(sizes);
}

}  // namespace trainer::kernels
