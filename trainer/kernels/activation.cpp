#include "trainer/kernels/activation.h"

#include <ATen/Parallel.h>

#include "trainer/kernels/context.h"
#include "trainer/kernels/dropout.h"
#include "trainer/kernels/fused.h"
#include "trainer/kernels/numeric.h"

namespace trainer::kernels {
namespace {

// All of an utterance's elements. Forward: `out` becomes the output.
template <bool kRelu, bool kDrop, typename T>
KERNEL_BODY void ForwardBody(const T* in, T* out, int64_t size, RowMask mask) {
  KERNEL_LOOP
  for (int64_t i = 0; i < size; ++i) {
    const float x = Load(in + i);
    const float y = kRelu ? (x > 0 ? x : 0.0f) : x * Sigmoid(x);
    Store(out + i, kDrop ? y * mask(static_cast<uint32_t>(i)) : y);
  }
}
// Backward: from the gradient of the output, `out` becomes that of the input.
template <bool kRelu, bool kDrop, typename T>
KERNEL_BODY void BackwardBody(const T* in, const T* gradient, T* out, int64_t size, RowMask mask) {
  KERNEL_LOOP
  for (int64_t i = 0; i < size; ++i) {
    const float x = Load(in + i), d = Load(gradient + i);
    float slope;
    if constexpr (kRelu) {
      slope = x > 0 ? 1.0f : 0.0f;
    } else {
      const float s = Sigmoid(x);
      slope = s * (1 + x * (1 - s));
    }
    Store(out + i, kDrop ? d * slope * mask(static_cast<uint32_t>(i)) : d * slope);
  }
}
template <typename T>
KERNEL_BODY void Choose(const T* in, const T* gradient, T* out, int64_t size, bool relu, bool drop,
                        RowMask mask) {
  if (gradient == nullptr) {
    if (relu) {
      drop ? ForwardBody<true, true>(in, out, size, mask) : ForwardBody<true, false>(in, out, size, mask);
    } else {
      drop ? ForwardBody<false, true>(in, out, size, mask) : ForwardBody<false, false>(in, out, size, mask);
    }
  } else if (relu) {
    drop ? BackwardBody<true, true>(in, gradient, out, size, mask)
         : BackwardBody<true, false>(in, gradient, out, size, mask);
  } else {
    drop ? BackwardBody<false, true>(in, gradient, out, size, mask)
         : BackwardBody<false, false>(in, gradient, out, size, mask);
  }
}
// `gradient` null: forward.
KERNEL_CLONES void Run(const float* in, const float* gradient, float* out, int64_t size, bool relu, bool drop,
                       RowMask mask) {
  Choose(in, gradient, out, size, relu, drop, mask);
}
KERNEL_CLONES void Run(const at::BFloat16* in, const at::BFloat16* gradient, at::BFloat16* out, int64_t size,
                       bool relu, bool drop, RowMask mask) {
  Choose(in, gradient, out, size, relu, drop, mask);
}

// x and gradient are contiguous; `gradient` undefined: forward.
torch::Tensor RunAll(const torch::Tensor& x, const torch::Tensor& gradient, bool relu, double probability,
                     const DropoutPlace& place) {
  auto out = torch::empty_like(x);
  const int64_t utterances = x.size(0), size = x.numel() / utterances;
  WithType(x, [&]<typename T>(T*) {
    const T* in = x.const_data_ptr<T>();
    const T* d_out = gradient.defined() ? gradient.const_data_ptr<T>() : nullptr;
    T* target = out.template data_ptr<T>();
    at::parallel_for(0, utterances, 1, [&](int64_t begin, int64_t end) {
      for (int64_t u = begin; u < end; ++u) {
        Run(in + u * size, d_out == nullptr ? nullptr : d_out + u * size, target + u * size, size, relu,
            probability > 0, RowMask(place.key, place.first + u, probability));
      }
    });
  });
  return out;
}

class FusedActivation : public torch::autograd::Function<FusedActivation> {
 public:
  static torch::Tensor forward(torch::autograd::AutogradContext* context, const torch::Tensor& x_in,
                               bool relu, double probability) {
    const auto x = x_in.contiguous();
    const auto place = probability > 0 ? NextDropoutPlace() : DropoutPlace{};
    context->save_for_backward({x});
    auto& data = context->saved_data;
    data["relu"] = relu, data["probability"] = probability;
    data["key"] = static_cast<int64_t>(place.key), data["first"] = place.first;
    return RunAll(x, {}, relu, probability, place);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto x = context->get_saved_variables()[0];
    auto& data = context->saved_data;
    const DropoutPlace place{static_cast<uint64_t>(data["key"].toInt()), data["first"].toInt()};
    return {
        RunAll(x, gradients[0].contiguous(), data["relu"].toBool(), data["probability"].toDouble(), place),
        {},
        {}};
  }
};

}  // namespace

torch::Tensor ActivateAndDrop(const torch::Tensor& x, Activation activation, double probability) {
  if (UseFused(x) && activation != Activation::kGelu) {
    return FusedActivation::apply(x, activation == Activation::kRelu, probability);
  }
  const auto y = activation == Activation::kRelu   ? at::relu(x)
                 : activation == Activation::kGelu ? at::gelu(x)
                                                   : at::silu(x);
  return Dropout(y, probability);
}

}  // namespace trainer::kernels
