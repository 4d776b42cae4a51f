#pragma once

#include <array>
#include <cstdint>

namespace data {

// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC'11): 128 random bits as a
// function of a 128-bit counter and a 64-bit key. Integer arithmetic alone, so the same on every platform.
inline std::array<uint32_t, 4> Philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * counter[0];
    const uint64_t p1 = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(p1 >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(p1),
               static_cast<uint32_t>(p0 >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(p0)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

// What a random number is for. One number a purpose keeps the purposes independent under the same seed.
// Numbers from kFirstFree on are for code outside this folder.
enum class Purpose : uint32_t {
  kOrder = 1,
  kCrop = 2,
  kSplit = 3,
  kSynthesis = 4,
  kAugment = 5,
  kCropLength = 6,
  kFirstFree = 64
};

// The purpose number `n` of those for code outside this folder.
constexpr Purpose FreePurpose(uint32_t n) {
  return static_cast<Purpose>(static_cast<uint32_t>(Purpose::kFirstFree) + n);
}

// A stream of random numbers that is a function of (seed, purpose, epoch, item) alone, whoever draws from it
// and in whatever order the items come. Cheap to make. One thread at a time.
class RandomStream {
 public:
  // `epoch` below 2^24; `item` any.
  RandomStream(uint64_t seed, Purpose purpose, uint64_t epoch, uint64_t item)
      : key_{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)},
        counter_{0, static_cast<uint32_t>(epoch) << 8 | static_cast<uint32_t>(purpose),
                 static_cast<uint32_t>(item), static_cast<uint32_t>(item >> 32)} {}

  uint32_t Next32() {
    if (used_ == 4) {
      block_ = Philox4x32(counter_, key_);
      ++counter_[0];
      used_ = 0;
    }
    return block_[used_++];
  }

  // Four numbers at once, for loops over many. What is left of a block that Next32() began is passed over.
  std::array<uint32_t, 4> NextBlock() {
    used_ = 4;
    const std::array<uint32_t, 4> block = Philox4x32(counter_, key_);
    ++counter_[0];
    return block;
  }

  uint64_t Next64() {
    const uint64_t low = Next32();
    return low | static_cast<uint64_t>(Next32()) << 32;
  }

  // Uniform in [0, bound), bound >= 1, without bias (Lemire's multiply and reject).
  uint64_t Below(uint64_t bound) {
    unsigned __int128 product = static_cast<unsigned __int128>(Next64()) * bound;
    if (static_cast<uint64_t>(product) < bound) {
      const uint64_t threshold = (0 - bound) % bound;
      while (static_cast<uint64_t>(product) < threshold) {
        product = static_cast<unsigned __int128>(Next64()) * bound;
      }
    }
    return static_cast<uint64_t>(product >> 64);
  }

  // Uniform in [0, 1), 24 bits.
  float Uniform() { return static_cast<float>(Next32() >> 8) * 0x1p-24f; }
  float Uniform(float low, float high) { return low + (high - low) * Uniform(); }

  // Mean 0, variance 1, |x| < 4.9: a sum of eight 16-bit uniforms. Additions only, hence exact on every
  // platform.
  float Gaussian() {
    uint32_t sum = 0;
    for (int i = 0; i < 4; ++i) {
      const uint32_t bits = Next32();
      sum += (bits & 0xFFFF) + (bits >> 16);
    }
    // Mean 8 * 65535 / 2, variance 8 * (2^32 - 1) / 12.
    return (static_cast<float>(sum) - 262140.0f) * 1.868803e-5f;
  }

 private:
  std::array<uint32_t, 2> key_;
  std::array<uint32_t, 4> counter_;
  std::array<uint32_t, 4> block_{};
  int used_ = 4;
};

}  // namespace data
