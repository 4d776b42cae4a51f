#include "trainer/kernels/add_norm.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <optional>

#include "trainer/kernels/context.h"
#include "trainer/kernels/dropout.h"
#include "trainer/kernels/fused.h"
#include "trainer/kernels/numeric.h"

namespace trainer::kernels {
namespace {

constexpr float kEpsilon = 1e-5f;

template <typename B, typename N>
struct Forward {
  const float* x;
  const B* branch;  // or null
  float* sum;       // null without a branch
  N* normed;
  float *mean, *deviation;  // deviation: its inverse
  const float *weight, *bias;
  int64_t width;
  float scale;
  bool drop;
};

template <typename B, typename N>
KERNEL_BODY void ForwardBody(const Forward<B, N>& f, int64_t row, int64_t row_in_utterance, RowMask mask) {
  const int64_t width = f.width;
  const float scale = f.scale, *const weight = f.weight, *const bias = f.bias;
  const float* x = f.x + row * width;
  const float* values = x;
  float total = 0;
  if (f.branch != nullptr) {
    const B* branch = f.branch + row * width;
    float* sum = f.sum + row * width;
    const auto first = static_cast<uint32_t>(row_in_utterance * width);
    if (f.drop) {
#pragma omp simd reduction(+ : total)
      for (int64_t i = 0; i < width; ++i) {
        const float v = x[i] + scale * mask(first + static_cast<uint32_t>(i)) * Load(branch + i);
        sum[i] = v;
        total += v;
      }
    } else {
#pragma omp simd reduction(+ : total)
      for (int64_t i = 0; i < width; ++i) {
        const float v = x[i] + scale * Load(branch + i);
        sum[i] = v;
        total += v;
      }
    }
    values = sum;
  } else {
#pragma omp simd reduction(+ : total)
    for (int64_t i = 0; i < width; ++i) total += x[i];
  }
  const float mean = total / static_cast<float>(width);
  float squares = 0;
#pragma omp simd reduction(+ : squares)
  for (int64_t i = 0; i < width; ++i) squares += (values[i] - mean) * (values[i] - mean);
  const float deviation = 1.0f / std::sqrt(squares / static_cast<float>(width) + kEpsilon);
  f.mean[row] = mean;
  f.deviation[row] = deviation;
  N* normed = f.normed + row * width;
  KERNEL_LOOP
  for (int64_t i = 0; i < width; ++i) Store(normed + i, (values[i] - mean) * deviation * weight[i] + bias[i]);
}

template <typename B, typename N>
struct Backward {
  const float* values;  // what was normed
  const float* d_sum;   // or null
  const N* d_normed;    // or null
  const float *mean, *deviation, *weight;
  float* d_x;
  B* d_branch;               // or null
  float *d_weight, *d_bias;  // of this chunk: added to
  int64_t width;
  float scale;
  bool drop;
};

template <typename B, typename N>
KERNEL_BODY void BackwardBody(const Backward<B, N>& f, int64_t row, int64_t row_in_utterance, RowMask mask) {
  const int64_t width = f.width;
  const float* values = f.values + row * width;
  float* d_x = f.d_x + row * width;
  const float mean = f.mean[row], deviation = f.deviation[row], scale = f.scale;
  const float* const weight = f.weight;
  float *const d_weight = f.d_weight, *const d_bias = f.d_bias;
  if (f.d_normed != nullptr) {
    const N* d_normed = f.d_normed + row * width;
    float sum = 0, product = 0;
#pragma omp simd reduction(+ : sum, product)
    for (int64_t i = 0; i < width; ++i) {
      const float d = Load(d_normed + i), normed = (values[i] - mean) * deviation;
      d_weight[i] += d * normed;
      d_bias[i] += d;
      const float weighted = d * weight[i];
      sum += weighted;
      product += weighted * normed;
    }
    sum /= static_cast<float>(width);
    product /= static_cast<float>(width);
    if (f.d_sum != nullptr) {
      const float* d_sum = f.d_sum + row * width;
      KERNEL_LOOP
      for (int64_t i = 0; i < width; ++i) {
        d_x[i] = d_sum[i] + deviation * (Load(d_normed + i) * weight[i] - sum -
                                         (values[i] - mean) * deviation * product);
      }
    } else {
      KERNEL_LOOP
      for (int64_t i = 0; i < width; ++i) {
        d_x[i] =
            deviation * (Load(d_normed + i) * weight[i] - sum - (values[i] - mean) * deviation * product);
      }
    }
  } else {
    std::copy_n(f.d_sum + row * width, width, d_x);
  }
  if (f.d_branch == nullptr) return;
  B* d_branch = f.d_branch + row * width;
  const auto first = static_cast<uint32_t>(row_in_utterance * width);
  if (f.drop) {
    KERNEL_LOOP
    for (int64_t i = 0; i < width; ++i) {
      Store(d_branch + i, scale * mask(first + static_cast<uint32_t>(i)) * d_x[i]);
    }
  } else {
    KERNEL_LOOP
    for (int64_t i = 0; i < width; ++i) Store(d_branch + i, scale * d_x[i]);
  }
}

#define INSTANTIATE(B, N)                                                                                    \
  KERNEL_CLONES void ForwardRow(const Forward<B, N>& f, int64_t row, int64_t in_utterance, RowMask mask) {   \
    ForwardBody(f, row, in_utterance, mask);                                                                 \
  }                                                                                                          \
  KERNEL_CLONES void BackwardRow(const Backward<B, N>& f, int64_t row, int64_t in_utterance, RowMask mask) { \
    BackwardBody(f, row, in_utterance, mask);                                                                \
  }
INSTANTIATE(float, float)
INSTANTIATE(float, at::BFloat16)
INSTANTIATE(at::BFloat16, float)
INSTANTIATE(at::BFloat16, at::BFloat16)
#undef INSTANTIATE

// Calls f(begin, end, chunk) for chunks of kRowsAChunk rows.
template <typename F>
void ForChunks(int64_t rows, const F& f) {
  at::parallel_for(0, Chunks(rows), 1, [&](int64_t begin, int64_t end) {
    for (int64_t chunk = begin; chunk < end; ++chunk) {
      f(chunk * kRowsAChunk, std::min(rows, (chunk + 1) * kRowsAChunk), chunk);
    }
  });
}

struct Shape {
  int64_t rows, rows_an_utterance;
  double probability;
  DropoutPlace place;

  template <typename RowFunction>
  void Rows(int64_t begin, int64_t end, const RowFunction& f) const {
    for (int64_t row = begin; row < end;) {
      const int64_t utterance = row / rows_an_utterance;
      const RowMask mask(place.key, place.first + utterance, probability);
      const int64_t stop = std::min(end, (utterance + 1) * rows_an_utterance);
      for (; row < stop; ++row) f(row, row - utterance * rows_an_utterance, mask);
    }
  }
};

class FusedAddNorm : public torch::autograd::Function<FusedAddNorm> {
 public:
  static torch::autograd::variable_list forward(torch::autograd::AutogradContext* context,
                                                const torch::Tensor& x_in,
                                                const std::optional<torch::Tensor>& branch_in, double scale,
                                                double probability, const torch::Tensor& weight,
                                                const torch::Tensor& bias, bool bfloat16) {
    const auto x = x_in.contiguous();
    const auto branch = branch_in ? branch_in->contiguous() : torch::Tensor();
    const int64_t width = x.size(-1);
    const bool drop = branch.defined() && probability > 0;
    const Shape shape{x.numel() / width, x.numel() / width / x.size(0), drop ? probability : 0.0,
                      drop ? NextDropoutPlace() : DropoutPlace{}};
    const auto sum = branch.defined() ? torch::empty_like(x) : x;
    const auto normed = torch::empty(x.sizes(), bfloat16 ? x.options().dtype(torch::kBFloat16) : x.options());
    const auto moments = torch::empty({2, shape.rows}, x.options());
    WithTypes(branch, normed, [&]<typename B, typename N>(B*, N*) {
      Forward<B, N> f{};
      f.x = x.const_data_ptr<float>();
      if (branch.defined()) f.branch = branch.const_data_ptr<B>(), f.sum = sum.data_ptr<float>();
      f.normed = normed.data_ptr<N>();
      f.mean = moments.data_ptr<float>();
      f.deviation = f.mean + shape.rows;
      f.weight = weight.const_data_ptr<float>();
      f.bias = bias.const_data_ptr<float>();
      f.width = width, f.scale = static_cast<float>(scale), f.drop = drop;
      ForChunks(shape.rows, [&](int64_t begin, int64_t end, int64_t) {
        shape.Rows(begin, end,
                   [&](int64_t row, int64_t within, RowMask mask) { ForwardRow(f, row, within, mask); });
      });
    });
    context->set_materialize_grads(false);
    context->save_for_backward({sum, moments, weight});
    auto& data = context->saved_data;
    data["branch"] = branch.defined() ? static_cast<int64_t>(branch.scalar_type()) : int64_t{-1};
    data["scale"] = scale, data["probability"] = shape.probability;
    data["key"] = static_cast<int64_t>(shape.place.key), data["first"] = shape.place.first;
    if (!branch.defined()) return {normed};
    return {sum, normed};
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const auto &values = saved[0], &moments = saved[1], &weight = saved[2];
    auto& data = context->saved_data;
    const int64_t branch_type = data["branch"].toInt();
    const bool has_branch = branch_type >= 0;
    const auto contiguous = [](const torch::Tensor& t) { return t.defined() ? t.contiguous() : t; };
    const auto d_sum = has_branch ? contiguous(gradients[0]) : torch::Tensor();
    const auto d_normed = contiguous(gradients.back());
    if (!d_sum.defined() && !d_normed.defined()) return torch::autograd::variable_list(7);
    const int64_t width = values.size(-1), rows = values.numel() / width;
    const double probability = data["probability"].toDouble();
    const Shape shape{rows,
                      rows / values.size(0),
                      probability,
                      {static_cast<uint64_t>(data["key"].toInt()), data["first"].toInt()}};
    const auto d_x = torch::empty_like(values);
    const auto d_branch =
        has_branch ? torch::empty(values.sizes(),
                                  values.options().dtype(static_cast<torch::ScalarType>(branch_type)))
                   : torch::Tensor();
    const auto d_parameters = torch::zeros({Chunks(rows), 2, width}, values.options());
    WithTypes(d_branch, d_normed, [&]<typename B, typename N>(B*, N*) {
      Backward<B, N> f{};
      f.values = values.const_data_ptr<float>();
      if (d_sum.defined()) f.d_sum = d_sum.const_data_ptr<float>();
      if (d_normed.defined()) f.d_normed = d_normed.const_data_ptr<N>();
      f.mean = moments.const_data_ptr<float>();
      f.deviation = f.mean + rows;
      f.weight = weight.const_data_ptr<float>();
      f.d_x = d_x.data_ptr<float>();
      if (has_branch) f.d_branch = d_branch.data_ptr<B>();
      f.width = width, f.scale = static_cast<float>(data["scale"].toDouble()), f.drop = probability > 0;
      float* partial = d_parameters.data_ptr<float>();
      ForChunks(rows, [&](int64_t begin, int64_t end, int64_t chunk) {
        auto mine = f;
        mine.d_weight = partial + chunk * 2 * width;
        mine.d_bias = mine.d_weight + width;
        shape.Rows(begin, end,
                   [&](int64_t row, int64_t within, RowMask mask) { BackwardRow(mine, row, within, mask); });
      });
    });
    const auto sums = d_parameters.sum(0);
    return {d_x, d_branch, {}, {}, sums[0], sums[1], {}};
  }
};

}  // namespace

AddNormResult AddNorm(const torch::Tensor& x, const torch::Tensor& branch, double scale, double probability,
                      const torch::Tensor& weight, const torch::Tensor& bias, bool full_precision) {
  const bool bfloat16 = !full_precision && CurrentSettings().precision == Precision::kBFloat16;
  if (!UseFused(x) || x.scalar_type() != torch::kFloat32) {
    const auto sum = branch.defined() ? x + scale * Dropout(branch, probability) : x;
    const auto normed = at::layer_norm(sum, {x.size(-1)}, weight, bias, kEpsilon);
    return {sum, bfloat16 && x.is_cpu() ? normed.to(torch::kBFloat16) : normed};
  }
  const auto outputs =
      FusedAddNorm::apply(x, branch.defined() ? std::optional<torch::Tensor>(branch) : std::nullopt, scale,
                          probability, weight, bias, bfloat16);
  return {branch.defined() ? outputs[0] : x, outputs.back()};
}

}  // namespace trainer::kernels
