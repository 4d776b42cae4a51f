#include "trainer/kernels/dropout.h"

#include <ATen/Parallel.h>

#include "trainer/kernels/context.h"
#include "trainer/kernels/numeric.h"

namespace trainer::kernels {
namespace {

template <typename T>
KERNEL_BODY void DropBody(const T* in, T* out, int64_t size, RowMask mask) {
  KERNEL_LOOP
  for (int64_t i = 0; i < size; ++i) Store(out + i, Load(in + i) * mask(static_cast<uint32_t>(i)));
}
KERNEL_CLONES void DropRow(const float* in, float* out, int64_t size, RowMask mask) {
  DropBody(in, out, size, mask);
}
KERNEL_CLONES void DropRow(const at::BFloat16* in, at::BFloat16* out, int64_t size, RowMask mask) {
  DropBody(in, out, size, mask);
}

torch::Tensor Drop(const torch::Tensor& x, double probability, const DropoutPlace& place) {
  const auto in = x.contiguous();
  auto out = torch::empty_like(in);
  const int64_t rows = in.size(0), size = rows == 0 ? 0 : in.numel() / rows;
  const auto run = [&]<typename T>(const T* source, T* target) {
    at::parallel_for(0, rows, 1, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        DropRow(source + row * size, target + row * size, size,
                RowMask(place.key, place.first + row, probability));
      }
    });
  };
  if (in.scalar_type() == torch::kFloat32) {
    run(in.const_data_ptr<float>(), out.data_ptr<float>());
  } else {
    run(in.const_data_ptr<at::BFloat16>(), out.data_ptr<at::BFloat16>());
  }
  return out;
}

class CounterDropout : public torch::autograd::Function<CounterDropout> {
 public:
  static torch::Tensor forward(torch::autograd::AutogradContext* context, const torch::Tensor& x,
                               double probability, int64_t key, int64_t first) {
    context->saved_data["probability"] = probability;
    context->saved_data["key"] = key;
    context->saved_data["first"] = first;
    return Drop(x, probability, {static_cast<uint64_t>(key), first});
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    auto& saved = context->saved_data;
    const DropoutPlace place{static_cast<uint64_t>(saved["key"].toInt()), saved["first"].toInt()};
    return {Drop(gradients[0], saved["probability"].toDouble(), place), {}, {}, {}};
  }
};

}  // namespace

torch::Tensor Dropout(const torch::Tensor& x, double probability) {
  if (probability == 0) return x;
  const bool ours = x.is_cpu() && (x.scalar_type() == torch::kFloat32 || x.scalar_type() == torch::kBFloat16);
  if (!ours) return at::dropout(x, probability, /*train=*/true);
  const auto place = NextDropoutPlace();
  return CounterDropout::apply(x, probability, static_cast<int64_t>(place.key), place.first);
}

torch::Tensor DropUtterances(const torch::Tensor& x, double probability) {
  if (probability == 0) return x;
  auto sizes = std::vector<int64_t>(static_cast<size_t>(x.dim()), 1);
  sizes[0] = x.size(0);
  return x * Dropout(torch::ones(sizes, x.options()), probability);
}

}  // namespace trainer::kernels
