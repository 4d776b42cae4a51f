#include "trainer/kernels/glu_depthwise.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "trainer/kernels/fused.h"
#include "trainer/kernels/numeric.h"

namespace trainer::kernels {
namespace {

// Channels are worked on in vectors of this many; scratch has so many more columns that all vectors are
// whole.
constexpr int64_t kLanes = 16;
using Lanes = float __attribute__((vector_size(kLanes * sizeof(float)), aligned(4), may_alias));

Lanes& At(float* p) { return *reinterpret_cast<Lanes*>(p); }
const Lanes& At(const float* p) { return *reinterpret_cast<const Lanes*>(p); }

// out[t, c] (+)= sum over j of weight[j, c] * in[t + j, c] for t < frames; all row strides are `width`, a
// multiple of kLanes.
KERNEL_CLONES void Correlate(const float* in, const float* weight, int64_t frames, int64_t kernel,
                             int64_t width, float* out) {
  constexpr int64_t kTimes = 8;
  for (int64_t c = 0; c < width; c += kLanes) {
    int64_t t = 0;
    for (; t + kTimes <= frames; t += kTimes) {
      Lanes sum[kTimes] = {};
      for (int64_t j = 0; j < kernel; ++j) {
        const Lanes w = At(weight + j * width + c);
        for (int64_t i = 0; i < kTimes; ++i) sum[i] += w * At(in + (t + i + j) * width + c);
      }
      for (int64_t i = 0; i < kTimes; ++i) At(out + (t + i) * width + c) = sum[i];
    }
    for (; t < frames; ++t) {
      Lanes sum = {};
      for (int64_t j = 0; j < kernel; ++j) sum += At(weight + j * width + c) * At(in + (t + j) * width + c);
      At(out + t * width + c) = sum;
    }
  }
}

// d_weight[j, c] = sum over t of d_out[t, c] * in[t + j, c].
KERNEL_CLONES void CorrelateWeights(const float* in, const float* d_out, int64_t frames, int64_t kernel,
                                    int64_t width, float* d_weight) {
  constexpr int64_t kTaps = 8;
  for (int64_t c = 0; c < width; c += kLanes) {
    int64_t j = 0;
    for (; j + kTaps <= kernel; j += kTaps) {
      Lanes sum[kTaps] = {};
      for (int64_t t = 0; t < frames; ++t) {
        const Lanes d = At(d_out + t * width + c);
        for (int64_t i = 0; i < kTaps; ++i) sum[i] += d * At(in + (t + j + i) * width + c);
      }
      for (int64_t i = 0; i < kTaps; ++i) At(d_weight + (j + i) * width + c) = sum[i];
    }
    for (; j < kernel; ++j) {
      Lanes sum = {};
      for (int64_t t = 0; t < frames; ++t) sum += At(d_out + t * width + c) * At(in + (t + j) * width + c);
      At(d_weight + j * width + c) = sum;
    }
  }
}

template <typename T>
KERNEL_BODY void GateBody(const T* gated, int64_t channels, float* u) {
  KERNEL_LOOP
  for (int64_t c = 0; c < channels; ++c) u[c] = Load(gated + c) * Sigmoid(Load(gated + channels + c));
}
template <typename T>
KERNEL_BODY void GateBackwardBody(const T* gated, const float* d_u, int64_t channels, T* d_gated) {
  KERNEL_LOOP
  for (int64_t c = 0; c < channels; ++c) {
    const float gate = Sigmoid(Load(gated + channels + c));
    Store(d_gated + c, d_u[c] * gate);
    Store(d_gated + channels + c, d_u[c] * Load(gated + c) * gate * (1 - gate));
  }
}
template <typename T>
KERNEL_BODY void AddBiasBody(const float* in, const float* bias, int64_t channels, T* out) {
  KERNEL_LOOP
  for (int64_t c = 0; c < channels; ++c) Store(out + c, in[c] + bias[c]);
}
template <typename T>
KERNEL_BODY void WidenBody(const T* in, int64_t channels, float* out) {
  KERNEL_LOOP
  for (int64_t c = 0; c < channels; ++c) out[c] = Load(in + c);
}
#define INSTANTIATE(T)                                                                                  \
  KERNEL_CLONES void Gate(const T* gated, int64_t channels, float* u) { GateBody(gated, channels, u); } \
  KERNEL_CLONES void GateBackward(const T* gated, const float* d_u, int64_t channels, T* d_gated) {     \
    GateBackwardBody(gated, d_u, channels, d_gated);                                                    \
  }                                                                                                     \
  KERNEL_CLONES void AddBias(const float* in, const float* bias, int64_t channels, T* out) {            \
    AddBiasBody(in, bias, channels, out);                                                               \
  }                                                                                                     \
  KERNEL_CLONES void Widen(const T* in, int64_t channels, float* out) { WidenBody(in, channels, out); }
INSTANTIATE(float)
INSTANTIATE(at::BFloat16)
#undef INSTANTIATE

int64_t Padded(int64_t channels) { return (channels + kLanes - 1) / kLanes * kLanes; }

// (C, 1, kernel) to (kernel, padded C), forwards or backwards in time.
torch::Tensor Taps(const torch::Tensor& weight, bool flipped) {
  auto taps = weight.squeeze(1).t();
  if (flipped) taps = taps.flip(0);
  return at::constant_pad_nd(taps, {0, Padded(weight.size(0)) - weight.size(0)}).contiguous();
}

// The gated frames of one utterance as rows left ... left + T of u (T + kernel - 1, padded C), zeros around
// them.
template <typename T>
void GateUtterance(const T* gated, const bool* mask, int64_t frames, int64_t channels, int64_t left, float* u,
                   int64_t rows) {
  const int64_t width = Padded(channels);
  std::fill_n(u, rows * width, 0.0f);
  for (int64_t t = 0; t < frames; ++t) {
    if (mask == nullptr || mask[t]) Gate(gated + t * 2 * channels, channels, u + (t + left) * width);
  }
}

class FusedGluDepthwise : public torch::autograd::Function<FusedGluDepthwise> {
 public:
  static torch::Tensor forward(torch::autograd::AutogradContext* context, const torch::Tensor& gated_in,
                               const std::optional<torch::Tensor>& mask_in, const torch::Tensor& weight,
                               const torch::Tensor& bias, bool bias_gradient, int64_t left) {
    const auto gated = gated_in.contiguous();
    const auto mask = mask_in ? mask_in->contiguous() : torch::Tensor();
    const int64_t batch = gated.size(0), frames = gated.size(1), channels = weight.size(0),
                  kernel = weight.size(2);
    const int64_t width = Padded(channels), rows = frames + kernel - 1;
    const auto taps = Taps(weight, false);
    auto out = torch::empty({batch, frames, channels}, gated.options());
    WithType(gated, [&]<typename T>(T*) {
      at::parallel_for(0, batch, 1, [&](int64_t begin, int64_t end) {
        std::vector<float> u(static_cast<size_t>(rows * width)), y(static_cast<size_t>(frames * width));
        for (int64_t b = begin; b < end; ++b) {
          GateUtterance(gated.const_data_ptr<T>() + b * frames * 2 * channels,
                        mask.defined() ? mask.const_data_ptr<bool>() + b * frames : nullptr, frames, channels,
                        left, u.data(), rows);
          Correlate(u.data(), taps.const_data_ptr<float>(), frames, kernel, width, y.data());
          T* target = out.template data_ptr<T>() + b * frames * channels;
          for (int64_t t = 0; t < frames; ++t) {
            AddBias(y.data() + t * width, bias.const_data_ptr<float>(), channels, target + t * channels);
          }
        }
      });
    });
    context->save_for_backward({gated, mask, weight});
    context->saved_data["left"] = left;
    context->saved_data["bias_gradient"] = bias_gradient;
    return out;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const auto &gated = saved[0], &mask = saved[1], &weight = saved[2];
    const int64_t left = context->saved_data["left"].toInt();
    const bool bias_gradient = context->saved_data["bias_gradient"].toBool();
    const int64_t batch = gated.size(0), frames = gated.size(1), channels = weight.size(0),
                  kernel = weight.size(2);
    const int64_t width = Padded(channels), rows = frames + kernel - 1;
    const auto d_out = gradients[0].contiguous();
    const auto flipped = Taps(weight, true);
    auto d_gated = torch::zeros_like(gated);
    const auto d_taps = torch::empty({batch, kernel, width}, weight.options());
    WithType(gated, [&]<typename T>(T*) {
      at::parallel_for(0, batch, 1, [&](int64_t begin, int64_t end) {
        std::vector<float> u(static_cast<size_t>(rows * width)), d_u(static_cast<size_t>(frames * width));
        // d_out with kernel - 1 rows of zeros on both sides.
        std::vector<float> d_y(static_cast<size_t>((frames + 2 * (kernel - 1)) * width));
        for (int64_t b = begin; b < end; ++b) {
          const T* in = gated.const_data_ptr<T>() + b * frames * 2 * channels;
          const bool* real = mask.defined() ? mask.const_data_ptr<bool>() + b * frames : nullptr;
          GateUtterance(in, real, frames, channels, left, u.data(), rows);
          for (int64_t t = 0; t < frames; ++t) {
            Widen(d_out.const_data_ptr<T>() + (b * frames + t) * channels, channels,
                  d_y.data() + (t + kernel - 1) * width);
          }
          CorrelateWeights(u.data(), d_y.data() + (kernel - 1) * width, frames, kernel, width,
                           d_taps.data_ptr<float>() + b * kernel * width);
          Correlate(d_y.data() + left * width, flipped.const_data_ptr<float>(), frames, kernel, width,
                    d_u.data());
          for (int64_t t = 0; t < frames; ++t) {
            if (real != nullptr && !real[t]) continue;
            GateBackward(in + t * 2 * channels, d_u.data() + t * width, channels,
                         d_gated.template data_ptr<T>() + (b * frames + t) * 2 * channels);
          }
        }
      });
    });
    const auto d_weight = d_taps.sum(0).narrow(1, 0, channels).t().unsqueeze(1).contiguous();
    const torch::Tensor d_bias = bias_gradient ? at::sum(d_out, at::IntArrayRef{0, 1}, false, torch::kFloat32)
                                               : torch::zeros({channels}, weight.options());
    return {d_gated, {}, d_weight, d_bias, {}, {}};
  }
};

}  // namespace

torch::Tensor GluDepthwise(const torch::Tensor& gated, const torch::Tensor& mask, const torch::Tensor& weight,
                           const torch::Tensor& bias, bool bias_gradient, int64_t left) {
  return FusedGluDepthwise::apply(gated, mask.defined() ? std::optional<torch::Tensor>(mask) : std::nullopt,
                                  weight, bias, bias_gradient, left);
}

}  // namespace trainer::kernels
