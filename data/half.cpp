#include "data/half.h"

#include <bit>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace data {
namespace {

float Widen(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  const uint32_t magnitude = half & 0x7FFF;
  if (magnitude >= 0x7C00) return std::bit_cast<float>(sign | 0x7F800000 | (magnitude & 0x3FF) << 13);
  // Subnormal halves are multiples of 2^-24, and normal floats.
  if (magnitude < 0x400) {
    return std::bit_cast<float>(std::bit_cast<uint32_t>(static_cast<float>(magnitude) * 0x1p-24f) | sign);
  }
  return std::bit_cast<float>(sign | ((magnitude << 13) + 0x38000000));
}

uint16_t Narrow(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint16_t sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  const uint32_t magnitude = bits & 0x7FFFFFFF;
  if (magnitude > 0x7F800000) return sign | 0x7E00;
  if (magnitude >= 0x477FF000) return sign | 0x7C00;  // 65520 and above round to infinity
  if (magnitude < 0x38800000) {
    // Below the smallest normal half: adding 0.5 makes the float's last place 2^-24, the spacing of subnormal
    // halves.
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x3F000000));
  }
  const uint32_t rounded = magnitude + 0xFFF + (magnitude >> 13 & 1);
  return static_cast<uint16_t>(sign | ((rounded - 0x38000000) >> 13));
}

// Adding one to an exponent of all ones carries into the sign bit: additions and ors alone, which every
// compiler vectorizes for every processor.
inline __attribute__((always_inline)) bool AllFiniteBody(const float* values, size_t count) {
  uint32_t carries = 0;
  for (size_t i = 0; i < count; ++i) {
    carries |= (std::bit_cast<uint32_t>(values[i]) & 0x7FFFFFFF) + 0x00800000;
  }
  return carries < 0x80000000;
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) bool AllFiniteVector(const float* values, size_t count) {
  return AllFiniteBody(values, count);
}

__attribute__((target("avx,f16c"))) size_t WidenVector(const uint16_t* in, float* out, size_t count) {
  size_t i = 0;
  for (; i + 8 <= count; i += 8) {
    const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(in + i));
    _mm256_storeu_ps(out + i, _mm256_cvtph_ps(halves));
  }
  return i;
}
#endif

}  // namespace

void HalfToFloat(const uint16_t* in, float* out, size_t count) {
  size_t i = 0;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx") && __builtin_cpu_supports("f16c")) i = WidenVector(in, out, count);
#endif
  for (; i < count; ++i) out[i] = Widen(in[i]);
}

void FloatToHalf(const float* in, uint16_t* out, size_t count) {
  for (size_t i = 0; i < count; ++i) out[i] = Narrow(in[i]);
}

bool AllFinite(const float* values, size_t count) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) return AllFiniteVector(values, count);
#endif
  return AllFiniteBody(values, count);
}

}  // namespace data
