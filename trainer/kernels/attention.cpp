#include "trainer/kernels/attention.h"

#include <ATen/Parallel.h>
#include <ATen/native/CPUBlas.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>
#include <type_traits>
#include <vector>

#include "trainer/kernels/context.h"
#include "trainer/kernels/fused.h"
#include "trainer/kernels/numeric.h"

namespace trainer::kernels {
namespace {

// c (m, n) = a (m, k) b (k, n), or + it; ld are row strides.
void Multiply(int64_t m, int64_t n, int64_t k, const float* a, int64_t ld_a, const float* b, int64_t ld_b,
              float* c, int64_t ld_c, bool add = false) {
  at::native::cpublas::brgemm(m, n, k, ld_a, ld_b, ld_c, add, a, b, c, /*is_vnni=*/false);
}

// out (rows, width) = in, between types; row strides.
template <typename In, typename Out>
KERNEL_BODY void CopyBody(const In* in, int64_t in_stride, int64_t rows, int64_t width, Out* out,
                          int64_t out_stride) {
  for (int64_t r = 0; r < rows; ++r) {
    const In* from = in + r * in_stride;
    Out* to = out + r * out_stride;
    KERNEL_LOOP
    for (int64_t i = 0; i < width; ++i) Store(to + i, Load(from + i));
  }
}

// Eight by eight numbers, in registers: pairs, then fours, then halves of rows change places.
constexpr int64_t kBlock = 8;
typedef float Vector __attribute__((vector_size(kBlock * sizeof(float))));
KERNEL_BODY void TransposeBlock(Vector (&r)[kBlock]) {
  Vector t[kBlock];
#pragma GCC unroll 8
  for (int i = 0; i < kBlock; i += 2) {
    t[i] = __builtin_shufflevector(r[i], r[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
    t[i + 1] = __builtin_shufflevector(r[i], r[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
  }
  Vector u[kBlock];
#pragma GCC unroll 8
  for (int i = 0; i < kBlock; i += 4) {
#pragma GCC unroll 8
    for (int half = 0; half < 2; ++half) {
      const Vector &a = t[i + half], &b = t[i + half + 2];
      u[i + 2 * half] = __builtin_shufflevector(a, b, 0, 1, 8, 9, 4, 5, 12, 13);
      u[i + 2 * half + 1] = __builtin_shufflevector(a, b, 2, 3, 10, 11, 6, 7, 14, 15);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kBlock / 2; ++i) {
    r[i] = __builtin_shufflevector(u[i], u[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
    r[i + 4] = __builtin_shufflevector(u[i], u[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
  }
}

template <typename T>
KERNEL_BODY void LoadBlockRow(const T* in, Vector& row) {
  if constexpr (std::is_same_v<T, float>) {
    std::memcpy(&row, in, sizeof row);
  } else {
    for (int i = 0; i < kBlock; ++i) row[i] = Load(in + i);
  }
}
template <typename T>
KERNEL_BODY void StoreBlockRow(const Vector& row, T* out) {
  if constexpr (std::is_same_v<T, float>) {
    std::memcpy(out, &row, sizeof row);
  } else {
    for (int i = 0; i < kBlock; ++i) Store(out + i, row[i]);
  }
}

// out (width, rows) = factor * in (rows, width) transposed.
template <typename In, typename Out>
KERNEL_BODY void TransposeBody(const In* in, int64_t in_stride, int64_t rows, int64_t width, float factor,
                               Out* out, int64_t out_stride) {
  const int64_t whole_rows = rows / kBlock * kBlock, whole_width = width / kBlock * kBlock;
  for (int64_t row = 0; row < whole_rows; row += kBlock) {
    for (int64_t column = 0; column < whole_width; column += kBlock) {
      Vector block[kBlock];
#pragma GCC unroll 8
      for (int64_t r = 0; r < kBlock; ++r) LoadBlockRow(in + (row + r) * in_stride + column, block[r]);
      TransposeBlock(block);
#pragma GCC unroll 8
      for (int64_t c = 0; c < kBlock; ++c)
        StoreBlockRow(factor * block[c], out + (column + c) * out_stride + row);
    }
  }
  const auto rest = [&](int64_t first_row, int64_t first_column, int64_t last_row) {
    for (int64_t c = first_column; c < width; ++c) {
      for (int64_t r = first_row; r < last_row; ++r)
        Store(out + c * out_stride + r, factor * Load(in + r * in_stride + c));
    }
  };
  rest(0, whole_width, whole_rows);
  rest(whole_rows, 0, rows);
}
#define INSTANTIATE_COPY(In, Out)                                                                 \
  KERNEL_CLONES void Copy(const In* in, int64_t in_stride, int64_t rows, int64_t width, Out* out, \
                          int64_t out_stride) {                                                   \
    CopyBody(in, in_stride, rows, width, out, out_stride);                                        \
  }
#define INSTANTIATE_TRANSPOSE(In, Out)                                                                     \
  KERNEL_CLONES void Transpose(const In* in, int64_t in_stride, int64_t rows, int64_t width, float factor, \
                               Out* out, int64_t out_stride) {                                             \
    TransposeBody(in, in_stride, rows, width, factor, out, out_stride);                                    \
  }
INSTANTIATE_COPY(float, at::BFloat16)
INSTANTIATE_COPY(at::BFloat16, float)
INSTANTIATE_TRANSPOSE(float, float)
INSTANTIATE_TRANSPOSE(float, at::BFloat16)
INSTANTIATE_TRANSPOSE(at::BFloat16, float)
#undef INSTANTIATE_COPY
#undef INSTANTIATE_TRANSPOSE

// Rows of float32 as a matrix product takes them.
struct Matrix {
  const float* data;
  int64_t stride;
  const float* row(int64_t r) const { return data + r * stride; }
};
// Where they lie, or in bfloat16 a copy in `copy`.
inline Matrix AsFloat(const float* in, int64_t stride, int64_t, int64_t, float*) { return {in, stride}; }
inline Matrix AsFloat(const at::BFloat16* in, int64_t stride, int64_t rows, int64_t width, float* copy) {
  Copy(in, stride, rows, width, copy, width);
  return {copy, width};
}

// Turns a row of scores into attention weights e^(s - its logarithmic sum), which is returned. `skewed`: what
// is added to the scores, or null; `allowed`: 1 or 0 for each key, or null.
KERNEL_CLONES float SoftmaxRow(float* scores, const float* skewed, const float* allowed, int64_t keys) {
  float most = -std::numeric_limits<float>::max();
  if (skewed != nullptr) {
    KERNEL_LOOP
    for (int64_t j = 0; j < keys; ++j) scores[j] += skewed[j];
  }
  if (allowed != nullptr) {
    KERNEL_LOOP
    for (int64_t j = 0; j < keys; ++j)
      scores[j] = allowed[j] > 0 ? scores[j] : -std::numeric_limits<float>::max();
  }
#pragma omp simd reduction(max : most)
  for (int64_t j = 0; j < keys; ++j) most = std::max(most, scores[j]);
  float sum = 0;
  if (allowed != nullptr) {
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < keys; ++j) {
      scores[j] = allowed[j] * data::FastExp(scores[j] - most);
      sum += scores[j];
    }
  } else {
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < keys; ++j) {
      scores[j] = data::FastExp(scores[j] - most);
      sum += scores[j];
    }
  }
  const float factor = 1 / sum;
  KERNEL_LOOP
  for (int64_t j = 0; j < keys; ++j) scores[j] *= factor;
  return most + std::log(sum);
}

// The same weights again, from the logarithmic sum.
KERNEL_CLONES void WeightsRow(float* scores, const float* skewed, const float* allowed, float log_sum,
                              int64_t keys) {
  if (skewed != nullptr) {
    KERNEL_LOOP
    for (int64_t j = 0; j < keys; ++j) scores[j] += skewed[j];
  }
  KERNEL_LOOP
  for (int64_t j = 0; j < keys; ++j) scores[j] = data::FastExp(scores[j] - log_sum);
  if (allowed != nullptr) {
    KERNEL_LOOP
    for (int64_t j = 0; j < keys; ++j) scores[j] = allowed[j] > 0 ? scores[j] : 0.0f;
  }
}

KERNEL_CLONES void DropRow(float* weights, int64_t keys, uint32_t first, RowMask mask) {
  KERNEL_LOOP
  for (int64_t j = 0; j < keys; ++j) weights[j] *= mask(first + static_cast<uint32_t>(j));
}

// weights: before dropout, replaced by those after it; d_weights: gradient of those after it, replaced by
// that of q . k, which is `scale` times the scores'. `delta`: d_output . output.
KERNEL_CLONES void DropBackwardRow(float* weights, float* d_weights, int64_t keys, float delta, float scale,
                                   uint32_t first, RowMask mask) {
  KERNEL_LOOP
  for (int64_t j = 0; j < keys; ++j) {
    const float factor = mask(first + static_cast<uint32_t>(j));
    d_weights[j] = scale * weights[j] * (factor * d_weights[j] - delta);
    weights[j] *= factor;
  }
}

KERNEL_CLONES void BackwardRow(const float* weights, float* d_weights, int64_t keys, float delta,
                               float scale) {
  KERNEL_LOOP
  for (int64_t j = 0; j < keys; ++j) d_weights[j] = scale * weights[j] * (d_weights[j] - delta);
}

KERNEL_CLONES float Dot(const float* a, const float* b, int64_t size) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < size; ++i) sum += a[i] * b[i];
  return sum;
}

struct Sizes {
  int64_t batch, frames, heads, width;  // width: of a head
  int64_t inner() const { return heads * width; }
  int64_t distances() const { return 2 * frames - 1; }
  int64_t tile() const { return std::min<int64_t>(frames, frames > 256 ? 64 : 128); }
  float scale() const { return 1 / std::sqrt(static_cast<float>(width)); }
};

// The rows of e for all distances, from frames - 1 down to 1 - frames. (2 T - 1)
torch::Tensor DistanceRows(const torch::Tensor& positions, int64_t frames) {
  const int64_t m = positions.size(0) / 2;
  return torch::arange(frames - 1, -frames, -1, torch::kInt64).clamp(-m, m).add_(m);
}

// Scratch of one thread for one head at a time.
struct Scratch {
  std::vector<float> memory;
  float* Get(int64_t size) {
    memory.resize(std::max(memory.size(), static_cast<size_t>(size)));
    return memory.data();
  }
};

class Attention : public torch::autograd::Function<Attention> {
 public:
  static torch::Tensor forward(torch::autograd::AutogradContext* context, const torch::Tensor& packed_in,
                               int64_t heads, const std::optional<torch::Tensor>& positions,
                               const std::optional<torch::Tensor>& key_mask, double probability) {
    const auto packed = packed_in.contiguous();
    const Sizes s{packed.size(0), packed.size(1), heads, packed.size(2) / (3 * heads)};
    const auto place = probability > 0 ? NextDropoutPlace() : DropoutPlace{};
    const auto options = torch::TensorOptions().dtype(torch::kFloat32);
    torch::Tensor rows, e, e_transposed;
    if (positions) {
      rows = DistanceRows(*positions, s.frames);
      e = positions->index_select(0, rows);
      e_transposed = e.t().mul(s.scale()).contiguous();
    }
    const auto allowed = key_mask ? key_mask->to(torch::kFloat32).contiguous() : torch::Tensor();
    auto output = torch::empty({s.batch, s.frames, s.inner()}, packed.options());
    const auto log_sums = torch::empty({s.batch, heads, s.frames}, options);
    WithType(packed, [&]<typename T>(T*) {
      const T* in = packed.const_data_ptr<T>();
      T* out = output.template data_ptr<T>();
      at::parallel_for(0, s.batch * heads, 1, [&](int64_t begin, int64_t end) {
        Scratch scratch;
        for (int64_t item = begin; item < end; ++item) {
          const int64_t b = item / heads, h = item % heads;
          const float* mask = allowed.defined() ? allowed.const_data_ptr<float>() + b * s.frames : nullptr;
          ForwardHead(s, in + b * s.frames * 3 * s.inner() + h * s.width,
                      positions ? e_transposed.const_data_ptr<float>() : nullptr, mask, probability,
                      RowMask(place.key, place.first + b, probability), h, scratch,
                      out + b * s.frames * s.inner() + h * s.width,
                      log_sums.data_ptr<float>() + item * s.frames);
        }
      });
    });
    context->save_for_backward({packed, output, log_sums, rows, e, e_transposed, allowed});
    auto& data = context->saved_data;
    data["heads"] = heads, data["probability"] = probability;
    data["positions"] = positions ? positions->size(0) : int64_t{0};
    data["key"] = static_cast<int64_t>(place.key), data["first"] = place.first;
    return output;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const auto &packed = saved[0], &output = saved[1], &log_sums = saved[2], &rows = saved[3], &e = saved[4],
               &e_transposed = saved[5], &allowed = saved[6];
    auto& data = context->saved_data;
    const int64_t heads = data["heads"].toInt(), positions = data["positions"].toInt();
    const double probability = data["probability"].toDouble();
    const DropoutPlace place{static_cast<uint64_t>(data["key"].toInt()), data["first"].toInt()};
    const Sizes s{packed.size(0), packed.size(1), heads, packed.size(2) / (3 * heads)};
    const auto d_output = gradients[0].contiguous();
    auto d_packed = torch::empty_like(packed);
    // An utterance's, transposed: (B, dh, 2 T - 1), added up in order afterwards.
    torch::Tensor d_e;
    if (positions > 0) d_e = torch::zeros({s.batch, s.width, s.distances()}, log_sums.options());
    WithType(packed, [&]<typename T>(T*) {
      at::parallel_for(0, s.batch, 1, [&](int64_t begin, int64_t end) {
        Scratch scratch;
        for (int64_t b = begin; b < end; ++b) {
          const float* mask = allowed.defined() ? allowed.const_data_ptr<float>() + b * s.frames : nullptr;
          for (int64_t h = 0; h < heads; ++h) {
            const int64_t at = b * s.frames * s.inner() + h * s.width;
            const int64_t packed_at = b * s.frames * 3 * s.inner() + h * s.width;
            BackwardHead(s, packed.const_data_ptr<T>() + packed_at, output.const_data_ptr<T>() + at,
                         d_output.const_data_ptr<T>() + at,
                         log_sums.const_data_ptr<float>() + (b * heads + h) * s.frames,
                         positions > 0 ? e.const_data_ptr<float>() : nullptr,
                         positions > 0 ? e_transposed.const_data_ptr<float>() : nullptr, mask, probability,
                         RowMask(place.key, place.first + b, probability), h, scratch,
                         d_packed.template data_ptr<T>() + packed_at,
                         positions > 0 ? d_e.data_ptr<float>() + b * s.width * s.distances() : nullptr);
          }
        }
      });
    });
    torch::Tensor d_positions;
    if (positions > 0) {
      d_positions = torch::zeros({positions, s.width}, log_sums.options());
      d_positions.index_add_(0, rows, d_e.sum(0).t());
    }
    return {d_packed, {}, d_positions, {}, {}};
  }

 private:
  // Scores of queries first ... first + n, `table` (n, T + n - 1) with their relative part. Returns that
  // part's row stride; row x, key j lies at table[x * stride + (n - 1) + j]. Keys and positions come scaled.
  static int64_t Scores(const Sizes& s, const Matrix& q, const float* k_transposed, const float* e_transposed,
                        int64_t first, int64_t n, float* scores, float* table) {
    Multiply(n, s.frames, s.width, q.row(first), q.stride, k_transposed, s.frames, scores, s.frames);
    const int64_t columns = s.frames + n - 1;
    if (e_transposed != nullptr) {
      Multiply(n, columns, s.width, q.row(first), q.stride, e_transposed + (s.frames - first - n),
               s.distances(), table, columns);
    }
    return columns - 1;
  }

  template <typename T>
  static void ForwardHead(const Sizes& s, const T* packed, const float* e_transposed, const float* allowed,
                          double probability, RowMask mask, int64_t head, Scratch& scratch, T* out,
                          float* log_sums) {
    const int64_t stride = 3 * s.inner(), size = s.frames * s.width, tile = s.tile();
    float* k_transposed = scratch.Get(4 * size + tile * s.frames + tile * (s.frames + tile));
    float *q_copy = k_transposed + size, *v_copy = q_copy + size, *o_copy = v_copy + size;
    float *scores = o_copy + size, *table = scores + tile * s.frames;
    const auto q = AsFloat(packed, stride, s.frames, s.width, q_copy);
    const auto v = AsFloat(packed + 2 * s.inner(), stride, s.frames, s.width, v_copy);
    Transpose(packed + s.inner(), stride, s.frames, s.width, s.scale(), k_transposed, s.frames);
    constexpr bool kInPlace = std::is_same_v<T, float>;
    for (int64_t first = 0; first < s.frames; first += tile) {
      const int64_t n = std::min(tile, s.frames - first);
      const int64_t skew = Scores(s, q, k_transposed, e_transposed, first, n, scores, table);
      for (int64_t x = 0; x < n; ++x) {
        float* row = scores + x * s.frames;
        log_sums[first + x] = SoftmaxRow(row, e_transposed != nullptr ? table + x * skew + (n - 1) : nullptr,
                                         allowed, s.frames);
        if (probability > 0) DropRow(row, s.frames, MaskRow(s, head, first + x), mask);
      }
      float* o = o_copy + first * s.width;
      int64_t o_stride = s.width;
      if constexpr (kInPlace) o = out + first * s.inner(), o_stride = s.inner();
      Multiply(n, s.width, s.frames, scores, s.frames, v.data, v.stride, o, o_stride);
    }
    if constexpr (!kInPlace) Copy(o_copy, s.width, s.frames, s.width, out, s.inner());
  }

  // The first element of a row of the dropout mask.
  static uint32_t MaskRow(const Sizes& s, int64_t head, int64_t query) {
    return static_cast<uint32_t>((head * s.frames + query) * s.frames);
  }

  template <typename T>
  static void BackwardHead(const Sizes& s, const T* packed, const T* output, const T* d_output,
                           const float* log_sums, const float* e, const float* e_transposed,
                           const float* allowed, double probability, RowMask mask, int64_t head,
                           Scratch& scratch, T* d_packed, float* d_e_transposed) {
    const int64_t stride = 3 * s.inner(), size = s.frames * s.width, tile = s.tile();
    const int64_t table_size = tile * (s.frames + tile);
    float* k_transposed = scratch.Get(9 * size + 2 * tile * s.frames + table_size + 2 * tile * s.width);
    float *v_transposed = k_transposed + size, *d_k_transposed = v_transposed + size,
          *d_v_transposed = d_k_transposed + size;
    float *q_copy = d_v_transposed + size, *k_copy = q_copy + size, *o_copy = k_copy + size,
          *d_o_copy = o_copy + size, *d_q_copy = d_o_copy + size;
    float *weights = d_q_copy + size, *d_scores = weights + tile * s.frames;
    float *table = d_scores + tile * s.frames, *q_transposed = table + table_size;
    float* d_o_transposed = q_transposed + tile * s.width;
    const auto q = AsFloat(packed, stride, s.frames, s.width, q_copy);
    const auto k = AsFloat(packed + s.inner(), stride, s.frames, s.width, k_copy);
    const auto o = AsFloat(output, s.inner(), s.frames, s.width, o_copy);
    const auto d_o = AsFloat(d_output, s.inner(), s.frames, s.width, d_o_copy);
    Transpose(packed + s.inner(), stride, s.frames, s.width, s.scale(), k_transposed, s.frames);
    Transpose(packed + 2 * s.inner(), stride, s.frames, s.width, 1, v_transposed, s.frames);
    constexpr bool kInPlace = std::is_same_v<T, float>;
    float* d_q = d_q_copy;
    int64_t d_q_stride = s.width;
    if constexpr (kInPlace) d_q = d_packed, d_q_stride = stride;
    for (int64_t first = 0; first < s.frames; first += tile) {
      const int64_t n = std::min(tile, s.frames - first);
      const bool more = first > 0;  // add to what earlier tiles gave
      const int64_t skew = Scores(s, q, k_transposed, e_transposed, first, n, weights, table);
      Multiply(n, s.frames, s.width, d_o.row(first), d_o.stride, v_transposed, s.frames, d_scores, s.frames);
      for (int64_t x = 0; x < n; ++x) {
        float *row = weights + x * s.frames, *d_row = d_scores + x * s.frames;
        WeightsRow(row, e != nullptr ? table + x * skew + (n - 1) : nullptr, allowed, log_sums[first + x],
                   s.frames);
        const float delta = Dot(o.row(first + x), d_o.row(first + x), s.width);
        if (probability > 0) {
          DropBackwardRow(row, d_row, s.frames, delta, s.scale(), MaskRow(s, head, first + x), mask);
        } else {
          BackwardRow(row, d_row, s.frames, delta, s.scale());
        }
      }
      Transpose(q.row(first), q.stride, n, s.width, 1, q_transposed, n);
      Transpose(d_o.row(first), d_o.stride, n, s.width, 1, d_o_transposed, n);
      Multiply(s.width, s.frames, n, d_o_transposed, n, weights, s.frames, d_v_transposed, s.frames, more);
      Multiply(s.width, s.frames, n, q_transposed, n, d_scores, s.frames, d_k_transposed, s.frames, more);
      float* d_q_tile = d_q + first * d_q_stride;
      Multiply(n, s.width, s.frames, d_scores, s.frames, k.data, k.stride, d_q_tile, d_q_stride);
      if (e == nullptr) continue;
      const int64_t columns = s.frames + n - 1, offset = s.frames - first - n;
      std::fill_n(table, n * columns, 0.0f);
      for (int64_t x = 0; x < n; ++x)
        std::copy_n(d_scores + x * s.frames, s.frames, table + x * skew + (n - 1));
      Multiply(n, s.width, columns, table, columns, e + offset * s.width, s.width, d_q_tile, d_q_stride,
               true);
      Multiply(s.width, columns, n, q_transposed, n, table, columns, d_e_transposed + offset, s.distances(),
               true);
    }
    if constexpr (!kInPlace) Copy(d_q, d_q_stride, s.frames, s.width, d_packed, stride);
    Transpose(d_k_transposed, s.frames, s.width, s.frames, 1, d_packed + s.inner(), stride);
    Transpose(d_v_transposed, s.frames, s.width, s.frames, 1, d_packed + 2 * s.inner(), stride);
  }
};

}  // namespace

torch::Tensor FusedAttention(const torch::Tensor& packed, int64_t heads, const torch::Tensor& positions,
                             const torch::Tensor& key_mask, double probability) {
  const auto optional = [](const torch::Tensor& t) {
    return t.defined() ? std::optional<torch::Tensor>(t) : std::nullopt;
  };
  return Attention::apply(packed, heads, optional(positions), optional(key_mask), probability);
}

}  // namespace trainer::kernels
