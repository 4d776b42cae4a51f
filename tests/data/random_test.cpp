#include "data/random.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace data {
namespace {

using Block = std::array<uint32_t, 4>;

// The vectors that the generator's authors publish (Random123, kat_vectors).
TEST(Philox, KnownAnswers) {
  EXPECT_EQ(Philox4x32({0, 0, 0, 0}, {0, 0}), (Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  const uint32_t f = 0xffffffff;
  EXPECT_EQ(Philox4x32({f, f, f, f}, {f, f}), (Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(Philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(RandomStream, StreamsDifferInEveryArgument) {
  const auto first = [](uint64_t seed, Purpose purpose, uint64_t epoch, uint64_t item) {
    return RandomStream(seed, purpose, epoch, item).Next64();
  };
  const uint64_t base = first(1, Purpose::kCrop, 2, 3);
  EXPECT_EQ(base, first(1, Purpose::kCrop, 2, 3));
  EXPECT_NE(base, first(1 + (uint64_t{1} << 32), Purpose::kCrop, 2, 3));
  EXPECT_NE(base, first(1, Purpose::kOrder, 2, 3));
  EXPECT_NE(base, first(1, Purpose::kCrop, 3, 3));
  EXPECT_NE(base, first(1, Purpose::kCrop, 2, 3 + (uint64_t{1} << 32)));
}

TEST(RandomStream, BelowIsUniform) {
  RandomStream random(5, Purpose::kCrop, 0, 0);
  std::vector<int> counts(7);
  for (int i = 0; i < 70000; ++i) ++counts[random.Below(7)];
  // Standard deviation of a count: 93.
  for (const int count : counts) EXPECT_NEAR(count, 10000, 450);
  EXPECT_EQ(random.Below(1), 0u);
}

TEST(RandomStream, GaussianHasItsMoments) {
  RandomStream random(6, Purpose::kSynthesis, 0, 0);
  double sum = 0, squares = 0;
  constexpr int kCount = 200000;
  for (int i = 0; i < kCount; ++i) {
    const double x = random.Gaussian();
    sum += x;
    squares += x * x;
    ASSERT_LT(std::fabs(x), 4.9);
  }
  EXPECT_NEAR(sum / kCount, 0, 0.01);
  EXPECT_NEAR(squares / kCount, 1, 0.02);
}

}  // namespace
}  // namespace data
