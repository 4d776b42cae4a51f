#include <gtest/gtest.h>
#include <torch/torch.h>

#include "tests/trainer/max_difference.h"
#include "trainer/kernels/dropout.h"
#include "trainer/kernels/linear.h"
#include "trainer/model/masking.h"
#include "trainer/model/norm.h"
#include "trainer/model/pooling.h"

namespace trainer::model {
namespace {

using kernels::Dropout;
using kernels::Linear;

TEST(Linear, IsPyTorchsWithItsGradients) {
  torch::manual_seed(1);
  for (const bool has_bias : {true, false}) {
    for (const int64_t rows : {1, 3, 130}) {
      auto inputs = std::vector<torch::Tensor>{torch::randn({2, rows, 20}), torch::randn({30, 20})};
      if (has_bias) inputs.push_back(torch::randn({30}));
      for (auto& t : inputs) t.requires_grad_();
      const auto bias = has_bias ? inputs[2] : torch::Tensor();
      const auto ours = Linear(inputs[0], inputs[1], bias), theirs = at::linear(inputs[0], inputs[1], bias);
      ASSERT_EQ(ours.sizes(), theirs.sizes());
      EXPECT_LT(MaxDifference(ours, theirs), 2e-5);
      const auto weights = torch::randn_like(theirs);
      const auto our_gradients = torch::autograd::grad({ours}, inputs, {weights});
      const auto their_gradients = torch::autograd::grad({theirs}, inputs, {weights});
      for (size_t i = 0; i < inputs.size(); ++i) {
        EXPECT_LT(MaxDifference(our_gradients[i], their_gradients[i]), 1e-4) << "input " << i;
      }
    }
  }
}

TEST(Linear, TakesInputsThatAreNotContiguous) {
  const auto x = torch::randn({20, 6, 4}).transpose(0, 2);  // (4, 6, 20)
  const auto weight = torch::randn({20, 9}).t();
  EXPECT_LT(MaxDifference(Linear(x, weight, {}), at::linear(x, weight)), 2e-5);
}

TEST(Dropout, DropsItsShareAndScalesTheRest) {
  torch::manual_seed(5);
  const auto x = torch::ones({1000, 1003});
  const auto y = Dropout(x, 0.3);
  const double dropped = y.eq(0).sum().item<double>() / 1003000;
  EXPECT_NEAR(dropped, 0.3, 0.002);  // a standard deviation is 0.00046
  EXPECT_EQ((y.eq(0) | (y - 1 / 0.7).abs().lt(1e-6)).sum().item<int64_t>(), 1003000);
  // Neither rows, columns nor neighbours stand out.
  EXPECT_LT(MaxDifference(y.eq(0).to(torch::kFloat32).mean(0), torch::full({1003}, 0.3)), 0.08);
  EXPECT_LT(MaxDifference(y.eq(0).to(torch::kFloat32).mean(1), torch::full({1000}, 0.3)), 0.08);
  const auto flat = y.view(-1).eq(0);
  const auto both = (flat.slice(0, 1) & flat.slice(0, 0, -1)).sum().item<double>() / 1003000;
  EXPECT_NEAR(both, 0.09, 0.002);
  EXPECT_TRUE(torch::equal(Dropout(x, 0), x));
}

TEST(Dropout, GradientHasTheSameMask) {
  const auto x = torch::randn({7, 90}).requires_grad_();
  const auto y = Dropout(x, 0.5);
  y.sum().backward();
  EXPECT_TRUE(torch::equal(x.grad(), y.detach().ne(0) * 2.0));
}

TEST(Dropout, IsAFunctionOfTheSeedOnAnyNumberOfThreads) {
  const auto x = torch::ones({300, 1000});
  const auto draw = [&](uint64_t seed, int threads) {
    const int before = at::get_num_threads();
    at::set_num_threads(threads);
    torch::manual_seed(seed);
    auto y = torch::stack({Dropout(x, 0.1), Dropout(x, 0.1)});
    at::set_num_threads(before);
    return y;
  };
  const auto one = draw(1, 1);
  EXPECT_TRUE(torch::equal(one, draw(1, 2)));
  EXPECT_FALSE(torch::equal(one, draw(2, 1)));
  EXPECT_FALSE(torch::equal(one[0], one[1]));
}

// Over real rows alone, batch norm is what it would be had the padding never been there.
TEST(BatchNorm, MaskedRowsDoNotCount) {
  torch::manual_seed(1);
  const auto x = torch::randn({3, 8, 5}) * 2 + 7;
  auto mask = torch::ones({3, 8, 1}, torch::kBool);
  mask[0].slice(0, 5) = false;
  mask[2].slice(0, 1) = false;
  const auto rows = x.masked_select(mask).view({-1, 5});
  BatchNorm masked(5, false), packed(5, false);
  auto input = x.clone().requires_grad_(), packed_input = rows.clone().requires_grad_();
  const auto y = masked.Forward(input, mask), packed_y = packed.Forward(packed_input, {});
  EXPECT_LT(MaxDifference(y.masked_select(mask).view({-1, 5}), packed_y), 1e-5);
  const auto weights = torch::randn_like(packed_y);
  (y.masked_select(mask).view({-1, 5}) * weights).sum().backward();
  (packed_y * weights).sum().backward();
  EXPECT_LT(MaxDifference(input.grad().masked_select(mask).view({-1, 5}), packed_input.grad()), 1e-5);
  EXPECT_EQ(input.grad().masked_select(mask.logical_not()).abs().max().item<double>(), 0);
  const auto ours = masked.named_buffers(), theirs = packed.named_buffers();
  for (const auto& item : theirs)
    EXPECT_LT(MaxDifference(ours[item.key()], item.value()), 1e-5) << item.key();
  EXPECT_EQ(ours["num_batches_tracked"].item<int64_t>(), 1);
}

TEST(BatchNorm, OneRowLeavesFiniteStatistics) {
  for (const auto& mask : {torch::Tensor(), torch::ones({1, 1, 1}, torch::kBool)}) {
    BatchNorm norm(3, false);
    EXPECT_TRUE(norm.Forward(torch::randn({1, 1, 3}), mask).isfinite().all().item<bool>());
    for (const auto& buffer : norm.buffers()) EXPECT_TRUE(buffer.isfinite().all().item<bool>());
  }
}

TEST(Pooling, StatisticsOfRealFrames) {
  const auto x = torch::tensor({{{1.0f}, {3.0f}, {100.0f}}, {{2.0f}, {2.0f}, {5.0f}}});
  const auto lengths = torch::tensor({2, 3}, torch::kInt64);
  EXPECT_LT(MaxDifference(Pooling("mean", 1).Forward(x, lengths), torch::tensor({{2.0f}, {3.0f}})), 1e-6);
  EXPECT_LT(MaxDifference(Pooling("statistics", 1).Forward(x, lengths),
                          torch::tensor({{2.0f, 1.0f}, {3.0f, std::sqrt(2.0f)}})),
            1e-6);
}

TEST(Pooling, AttentionWeighsFramesByTheirScores) {
  Pooling pooling("attentive_statistics", 2);
  torch::NoGradGuard no_grad;
  const auto x = torch::randn({2, 6, 2});
  const auto parameters = pooling.named_parameters();
  const auto hidden =
      torch::tanh(at::linear(x, parameters["projection.weight"], parameters["projection.bias"]));
  const auto weights = at::linear(hidden, parameters["score.weight"]).softmax(1);
  const auto mean = (weights * x).sum(1);
  const auto deviation = ((weights * x * x).sum(1) - mean * mean).sqrt();
  EXPECT_LT(MaxDifference(pooling.Forward(x, {}), torch::cat({mean, deviation}, 1)), 1e-5);
  EXPECT_EQ(pooling.output_width(), 4);
}

TEST(Pooling, OneFrameHasNoDeviationAndAFiniteGradient) {
  Pooling pooling("statistics", 3);
  auto x = torch::randn({2, 1, 3}).requires_grad_();
  const auto y = pooling.Forward(x, {});
  EXPECT_LT(y.slice(1, 3).max().item<double>(), 1e-3);
  y.sum().backward();
  EXPECT_TRUE(x.grad().isfinite().all().item<bool>());
}

}  // namespace
}  // namespace trainer::model
