#include "trainer/model/dropout.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>

#include <cmath>
#include <mutex>

namespace trainer::model {
namespace {

constexpr int64_t kGrain = 32768;  // elements a thread at least

// The finaliser of MurmurHash3 (Appleby, public domain), which spreads every bit of its input over all bits.
inline uint32_t Mix(uint32_t h) {
  h ^= h >> 16;
  h *= 0x85ebca6bU;
  h ^= h >> 13;
  h *= 0xc2b2ae35U;
  return h ^ h >> 16;
}

// One loop, compiled for several instruction sets; the best one is chosen at start-up.
__attribute__((target_clones("default", "avx2", "avx512f"))) void DropRange(const float* in, float* out,
                                                                            int64_t size, uint32_t first,
                                                                            uint32_t key_low,
                                                                            uint32_t key_high,
                                                                            uint32_t threshold, float scale) {
  for (int64_t i = 0; i < size; ++i) {
    const uint32_t h = Mix(Mix((first + static_cast<uint32_t>(i)) ^ key_low) ^ key_high);
    out[i] = h >= threshold ? in[i] * scale : 0.0f;
  }
}

torch::Tensor Drop(const torch::Tensor& x, double probability, uint64_t key) {
  const auto in = x.contiguous();
  auto out = torch::empty_like(in);
  const auto threshold = static_cast<uint32_t>(std::lround(probability * 0x1p32));
  const auto scale = static_cast<float>(1 / (1 - probability));
  const float* source = in.const_data_ptr<float>();
  float* target = out.data_ptr<float>();
  at::parallel_for(0, in.numel(), kGrain, [&](int64_t begin, int64_t end) {
    DropRange(source + begin, target + begin, end - begin, static_cast<uint32_t>(begin),
              static_cast<uint32_t>(key), static_cast<uint32_t>(key >> 32), threshold, scale);
  });
  return out;
}

class HashDropout : public torch::autograd::Function<HashDropout> {
 public:
  static torch::Tensor forward(torch::autograd::AutogradContext* context, const torch::Tensor& x,
                               double probability, int64_t key) {
    context->saved_data["probability"] = probability;
    context->saved_data["key"] = key;
    return Drop(x, probability, static_cast<uint64_t>(key));
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto key = static_cast<uint64_t>(context->saved_data["key"].toInt());
    return {Drop(gradients[0], context->saved_data["probability"].toDouble(), key), torch::Tensor(),
            torch::Tensor()};
  }
};

uint64_t DrawKey() {
  auto generator = at::detail::getDefaultCPUGenerator();
  const std::lock_guard<std::mutex> lock(generator.mutex());
  return at::check_generator<at::CPUGeneratorImpl>(generator)->random64();
}

}  // namespace

torch::Tensor Dropout(const torch::Tensor& x, double probability) {
  if (probability == 0) return x;
  if (!x.is_cpu() || x.scalar_type() != torch::kFloat32) return at::dropout(x, probability, /*train=*/true);
  return HashDropout::apply(x, probability, static_cast<int64_t>(DrawKey()));
}

}  // namespace trainer::model
