// What the loops of the kernels are made of: each is short enough for the compiler to turn loops over it into
// vector code, which is compiled for several instruction sets (KERNEL_CLONES); the best is chosen at
// start-up.
#pragma once

#include <c10/util/BFloat16.h>

#include <bit>
#include <cmath>
#include <cstdint>

#include "data/fast_math.h"

// Bodies are templates that are inlined into one function of this kind for each type: functions with clones
// cannot be templates.
#if defined(__x86_64__)
#define KERNEL_CLONES __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define KERNEL_CLONES
#endif
#define KERNEL_BODY inline __attribute__((always_inline))
// Before a loop whose turns do not depend on each other, which the compiler cannot see through pointers.
#define KERNEL_LOOP _Pragma("GCC ivdep")

namespace trainer::kernels {

KERNEL_BODY float Load(const float* p) { return *p; }
KERNEL_BODY float Load(const at::BFloat16* p) {
  return std::bit_cast<float>(static_cast<uint32_t>(p->x) << 16);
}

KERNEL_BODY void Store(float* p, float value) { *p = value; }
// To nearest, ties to even. What is no number stays none.
KERNEL_BODY void Store(at::BFloat16* p, float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t rounded = (bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16;
  p->x = static_cast<uint16_t>(value == value ? rounded : 0x7fc0U);
}

KERNEL_BODY float Sigmoid(float x) { return 1.0f / (1.0f + data::FastExp(-x)); }

// The finaliser of MurmurHash3 (Appleby, public domain), which spreads every bit of its input over all bits.
KERNEL_BODY uint32_t Mix(uint32_t h) {
  h ^= h >> 16;
  h *= 0x85ebca6bU;
  h ^= h >> 13;
  h *= 0xc2b2ae35U;
  return h ^ h >> 16;
}

// A key for number `index` below `key`: a step of the generator SplitMix64 (Steele et al. 2014).
inline uint64_t MixIndex(uint64_t key, uint64_t index) {
  uint64_t z = key + 0x9e3779b97f4a7c15U * (index + 1);
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9U;
  z = (z ^ z >> 27) * 0x94d049bb133111ebU;
  return z ^ z >> 31;
}

// The dropout mask of one utterance: see Note [Dropout by counter].
struct RowMask {
  uint32_t low, high, threshold;
  float scale;  // of what is kept

  RowMask(uint64_t place_key, int64_t utterance, double probability) {
    const uint64_t key = MixIndex(place_key, static_cast<uint64_t>(utterance));
    low = static_cast<uint32_t>(key);
    high = static_cast<uint32_t>(key >> 32);
    threshold = static_cast<uint32_t>(std::llround(probability * 0x1p32));
    scale = static_cast<float>(1 / (1 - probability));
  }

  // The factor of element `index`: 0 or `scale`.
  KERNEL_BODY float operator()(uint32_t index) const {
    return Mix(Mix(index ^ low) ^ high) >= threshold ? scale : 0.0f;
  }
};

}  // namespace trainer::kernels
