#include "trainer/kernels/batch_norm_silu.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <optional>

#include "trainer/kernels/fused.h"
#include "trainer/kernels/numeric.h"

namespace trainer::kernels {
namespace {

constexpr double kNormEpsilon = 1e-5;

// All of a row's channels; `n` of them.
template <typename T>
KERNEL_BODY void AddBody(const T* x, int64_t n, float* sum) {
  KERNEL_LOOP
  for (int64_t c = 0; c < n; ++c) sum[c] += Load(x + c);
}
template <typename T>
KERNEL_BODY void AddSquaresBody(const T* x, const float* mean, int64_t n, float* sum) {
  KERNEL_LOOP
  for (int64_t c = 0; c < n; ++c) sum[c] += (Load(x + c) - mean[c]) * (Load(x + c) - mean[c]);
}
// factor, shift: normed = factor * x + shift, with weight and bias in them.
template <typename T>
KERNEL_BODY void ApplyBody(const T* x, const float* factor, const float* shift, int64_t n, T* out) {
  KERNEL_LOOP
  for (int64_t c = 0; c < n; ++c) {
    const float normed = factor[c] * Load(x + c) + shift[c];
    Store(out + c, normed * Sigmoid(normed));
  }
}
KERNEL_BODY float SiluGradient(float x) {
  const float s = Sigmoid(x);
  return s * (1 + x * (1 - s));
}
// Adds the gradient of the normed values, and its product with x - mean.
template <typename T>
KERNEL_BODY void BackwardSumsBody(const T* x, const T* d_out, const float* factor, const float* shift,
                                  const float* mean, int64_t n, float* sum, float* product) {
  KERNEL_LOOP
  for (int64_t c = 0; c < n; ++c) {
    const float value = Load(x + c), d = Load(d_out + c) * SiluGradient(factor[c] * value + shift[c]);
    sum[c] += d;
    product[c] += d * (value - mean[c]);
  }
}
// d_x = factor * d + slope * (x - mean) + offset
template <typename T>
KERNEL_BODY void BackwardBody(const T* x, const T* d_out, const float* factor, const float* shift,
                              const float* mean, const float* slope, const float* offset, int64_t n, T* d_x) {
  KERNEL_LOOP
  for (int64_t c = 0; c < n; ++c) {
    const float value = Load(x + c), d = Load(d_out + c) * SiluGradient(factor[c] * value + shift[c]);
    Store(d_x + c, factor[c] * d + slope[c] * (value - mean[c]) + offset[c]);
  }
}
#define INSTANTIATE(T)                                                                                  \
  KERNEL_CLONES void Add(const T* x, int64_t n, float* sum) { AddBody(x, n, sum); }                     \
  KERNEL_CLONES void AddSquares(const T* x, const float* mean, int64_t n, float* sum) {                 \
    AddSquaresBody(x, mean, n, sum);                                                                    \
  }                                                                                                     \
  KERNEL_CLONES void Apply(const T* x, const float* factor, const float* shift, int64_t n, T* out) {    \
    ApplyBody(x, factor, shift, n, out);                                                                \
  }                                                                                                     \
  KERNEL_CLONES void BackwardSums(const T* x, const T* d_out, const float* factor, const float* shift,  \
                                  const float* mean, int64_t n, float* sum, float* product) {           \
    BackwardSumsBody(x, d_out, factor, shift, mean, n, sum, product);                                   \
  }                                                                                                     \
  KERNEL_CLONES void BackwardRow(const T* x, const T* d_out, const float* factor, const float* shift,   \
                                 const float* mean, const float* slope, const float* offset, int64_t n, \
                                 T* d_x) {                                                              \
    BackwardBody(x, d_out, factor, shift, mean, slope, offset, n, d_x);                                 \
  }
INSTANTIATE(float)
INSTANTIATE(at::BFloat16)
#undef INSTANTIATE

// f(row, partial) for all rows that count, where partial (sums, C) is the chunk's; returns the chunks' sum
// (sums, C).
template <typename F>
torch::Tensor SumRows(int64_t rows, int64_t sums, int64_t channels, const bool* mask, const F& f) {
  const auto partial = torch::zeros({Chunks(rows), sums, channels}, torch::kFloat32);
  float* data = partial.data_ptr<float>();
  at::parallel_for(0, Chunks(rows), 1, [&](int64_t begin, int64_t end) {
    for (int64_t chunk = begin; chunk < end; ++chunk) {
      for (int64_t row = chunk * kRowsAChunk; row < std::min(rows, (chunk + 1) * kRowsAChunk); ++row) {
        if (mask == nullptr || mask[row]) f(row, data + chunk * sums * channels);
      }
    }
  });
  return partial.sum(0);
}

class FusedBatchNormSilu : public torch::autograd::Function<FusedBatchNormSilu> {
 public:
  static torch::autograd::variable_list forward(torch::autograd::AutogradContext* context,
                                                const torch::Tensor& x_in,
                                                const std::optional<torch::Tensor>& mask_in,
                                                const torch::Tensor& weight, const torch::Tensor& bias,
                                                const AllReduce* all_reduce) {
    const auto x = x_in.contiguous();
    const auto mask = mask_in ? mask_in->contiguous() : torch::Tensor();
    const int64_t channels = x.size(-1), rows = x.numel() / channels;
    const bool* real = mask.defined() ? mask.const_data_ptr<bool>() : nullptr;
    torch::Tensor mean, variance, count;
    auto out = torch::empty_like(x);
    WithType(x, [&]<typename T>(T*) {
      const T* in = x.const_data_ptr<T>();
      const auto local_count = mask.defined() ? mask.sum(torch::kFloat32).reshape({1})
                                              : torch::full({1}, static_cast<double>(rows), torch::kFloat32);
      const auto first =
          torch::cat({SumRows(rows, 1, channels, real,
                              [&](int64_t row, float* sum) { Add(in + row * channels, channels, sum); })
                          .reshape(-1),
                      local_count});
      if (all_reduce != nullptr) (*all_reduce)(first);
      count = first.narrow(0, channels, 1).clone();
      mean = first.narrow(0, 0, channels) / count;
      // Two passes rather than one of sums and squares: those cancel where the mean is large.
      const float* centre = mean.const_data_ptr<float>();
      const auto squares = SumRows(rows, 1, channels, real, [&](int64_t row, float* sum) {
                             AddSquares(in + row * channels, centre, channels, sum);
                           }).reshape(-1);
      if (all_reduce != nullptr) (*all_reduce)(squares);
      variance = squares / count;
      const auto factor = weight * (variance + kNormEpsilon).rsqrt();
      const auto shift = bias - factor * mean;
      const float *f = factor.const_data_ptr<float>(), *s = shift.const_data_ptr<float>();
      T* target = out.template data_ptr<T>();
      at::parallel_for(0, Chunks(rows), 1, [&](int64_t begin, int64_t end) {
        for (int64_t row = begin * kRowsAChunk; row < std::min(rows, end * kRowsAChunk); ++row) {
          Apply(in + row * channels, f, s, channels, target + row * channels);
        }
      });
      context->save_for_backward({x, mask, mean, variance, count, factor, shift});
    });
    context->saved_data["all_reduce"] = reinterpret_cast<int64_t>(all_reduce);
    context->mark_non_differentiable({mean, variance, count});
    return {out, mean, variance, count};
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const auto &x = saved[0], &mask = saved[1], &mean = saved[2], &variance = saved[3], &count = saved[4],
               &factor = saved[5], &shift = saved[6];
    const auto* all_reduce = reinterpret_cast<const AllReduce*>(context->saved_data["all_reduce"].toInt());
    const int64_t channels = x.size(-1), rows = x.numel() / channels;
    const bool* real = mask.defined() ? mask.const_data_ptr<bool>() : nullptr;
    const auto d_out = gradients[0].contiguous();
    auto d_x = mask.defined() ? torch::zeros_like(x) : torch::empty_like(x);
    torch::Tensor d_weight, d_bias;
    WithType(x, [&]<typename T>(T*) {
      const T *in = x.const_data_ptr<T>(), *d = d_out.const_data_ptr<T>();
      const float *f = factor.const_data_ptr<float>(), *s = shift.const_data_ptr<float>();
      const float* m = mean.const_data_ptr<float>();
      const auto sums = SumRows(rows, 2, channels, real, [&](int64_t row, float* sum) {
        BackwardSums(in + row * channels, d + row * channels, f, s, m, channels, sum, sum + channels);
      });
      const auto inverse = (variance + kNormEpsilon).rsqrt();
      d_bias = sums[0].clone();
      d_weight = sums[1] * inverse;
      if (all_reduce != nullptr) (*all_reduce)(sums);
      const torch::Tensor slope = (-factor * sums[1] * inverse.square() / count).contiguous();
      const torch::Tensor offset = (-factor * sums[0] / count).contiguous();
      const float *a = slope.const_data_ptr<float>(), *b = offset.const_data_ptr<float>();
      T* target = d_x.template data_ptr<T>();
      at::parallel_for(0, Chunks(rows), 1, [&](int64_t begin, int64_t end) {
        for (int64_t row = begin * kRowsAChunk; row < std::min(rows, end * kRowsAChunk); ++row) {
          if (real != nullptr && !real[row]) continue;
          BackwardRow(in + row * channels, d + row * channels, f, s, m, a, b, channels,
                      target + row * channels);
        }
      });
    });
    return {d_x, {}, d_weight, d_bias, {}};
  }
};

}  // namespace

std::pair<torch::Tensor, BatchMoments> BatchNormSilu(const torch::Tensor& x, const torch::Tensor& mask,
                                                     const torch::Tensor& weight, const torch::Tensor& bias,
                                                     const std::shared_ptr<const AllReduce>& all_reduce) {
  const auto outputs = FusedBatchNormSilu::apply(
      x, mask.defined() ? std::optional<torch::Tensor>(mask) : std::nullopt, weight, bias, all_reduce.get());
  return {outputs[0], {outputs[1], outputs[2], outputs[3]}};
}

}  // namespace trainer::kernels
