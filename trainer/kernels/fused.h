// What the fused kernels share: when they are taken, types, chunks of rows.
#pragma once

#include <torch/torch.h>

#include "trainer/kernels/context.h"

namespace trainer::kernels {

// Whether a fused kernel is to work on x: on a CPU, where gradients are wanted. (Without, LibTorch's own
// kernels fuse enough.)
inline bool UseFused(const torch::Tensor& x) {
  return x.is_cpu() && x.numel() > 0 && CurrentSettings().fused && torch::GradMode::is_enabled();
}

// Rows whose sums are added up by one thread, see Note [Fused kernels].
inline constexpr int64_t kRowsAChunk = 128;
inline int64_t Chunks(int64_t rows) { return (rows + kRowsAChunk - 1) / kRowsAChunk; }

// f(T*), a null pointer of the type of `t`; an undefined tensor counts as float32.
template <typename F>
void WithType(const torch::Tensor& t, const F& f) {
  if (t.defined() && t.scalar_type() == torch::kBFloat16) return f(static_cast<at::BFloat16*>(nullptr));
  TORCH_CHECK(!t.defined() || t.scalar_type() == torch::kFloat32, "fused kernels take float32 and bfloat16");
  f(static_cast<float*>(nullptr));
}

// f(A*, B*), of the types of two tensors.
template <typename F>
void WithTypes(const torch::Tensor& a, const torch::Tensor& b, const F& f) {
  WithType(a, [&]<typename A>(A* first) { WithType(b, [&](auto* second) { f(first, second); }); });
}

}  // namespace trainer::kernels
