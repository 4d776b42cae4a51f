#include "trainer/model/conformer.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <string>

#include "tests/trainer/max_difference.h"
#include "trainer/model/relative_attention.h"

namespace trainer::model {
namespace {

// The formula as it is written, with the (T, T, dh) table.
torch::Tensor NaiveAttention(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                             const torch::Tensor& positions, const torch::Tensor& mask) {
  const int64_t frames = q.size(2), m = positions.size(0) / 2;
  const auto i = torch::arange(frames);
  const auto r = (i.unsqueeze(1) - i.unsqueeze(0)).clamp(-m, m) + m;
  const auto e = positions.index_select(0, r.reshape(-1)).view({frames, frames, -1});
  auto scores = torch::matmul(q, k.transpose(2, 3)) + torch::einsum("bhid,ijd->bhij", {q, e});
  scores = scores / std::sqrt(static_cast<double>(q.size(3)));
  if (mask.defined()) {
    scores = scores.masked_fill(mask.logical_not().unsqueeze(1).unsqueeze(1),
                                -std::numeric_limits<float>::infinity());
  }
  return torch::matmul(scores.softmax(-1), v);
}

class RelativeAttentionOf : public testing::TestWithParam<int64_t> {};

TEST_P(RelativeAttentionOf, FramesIsTheFormulaWithItsGradients) {
  const int64_t frames = GetParam();
  torch::manual_seed(frames);
  const auto make = [](at::IntArrayRef sizes) { return torch::randn(sizes).requires_grad_(); };
  const std::vector<torch::Tensor> inputs = {make({2, 3, frames, 5}), make({2, 3, frames, 5}),
                                             make({2, 3, frames, 5}), make({2 * 8 + 1, 5})};
  auto mask = torch::ones({2, frames}, torch::kBool);
  mask[1].slice(0, (frames + 1) / 2) = false;
  for (const auto& m : {torch::Tensor(), mask}) {
    const auto weights = torch::randn({2, 3, frames, 5});
    const auto ours = RelativeAttention(inputs[0], inputs[1], inputs[2], inputs[3], m);
    const auto naive = NaiveAttention(inputs[0], inputs[1], inputs[2], inputs[3], m);
    EXPECT_LT(MaxDifference(ours, naive), 1e-5);
    const auto our_gradients = torch::autograd::grad({ours}, inputs, {weights});
    const auto naive_gradients = torch::autograd::grad({naive}, inputs, {weights});
    for (size_t i = 0; i < inputs.size(); ++i) {
      EXPECT_LT(MaxDifference(our_gradients[i], naive_gradients[i]),
                1e-5 * (1 + naive_gradients[i].abs().max().item<double>()))
          << "input " << i;
    }
    torch::NoGradGuard no_grad;
    for (const int64_t budget :
         {int64_t{1}, 16 * 6 * frames * 3, int64_t{1} << 30}) {  // slices of 1, 3 and all
      const auto sliced = RelativeAttention(inputs[0], inputs[1], inputs[2], inputs[3], m, budget);
      EXPECT_LT(MaxDifference(sliced, naive), 1e-5) << "budget " << budget;
    }
  }
}

// Below, at and above 2 M + 1 = 17, from where distances are clamped.
INSTANTIATE_TEST_SUITE_P(Of, RelativeAttentionOf, testing::Values(1, 2, 9, 17, 40));

ConformerOptions Small() {
  return {.block = {.dim = 16,
                    .dim_head = 8,
                    .heads = 2,
                    .ff_mult = 2,
                    .conv_expansion_factor = 2,
                    .conv_kernel_size = 7,
                    .max_distance = 512,
                    .attn_dropout = 0,
                    .ff_dropout = 0,
                    .conv_dropout = 0,
                    .causal = false,
                    .conv_norm = "batch"},
          .depth = 2,
          .stochastic_depth = 0};
}

TEST(Conformer, TrainingIgnoresPaddingToo) {
  // Of the same utterances padded with different things, outputs, gradients and batch norm's statistics are
  // the same.
  const auto lengths = torch::tensor({20, 9, 14}, torch::kInt64);
  const auto mask = torch::arange(20).unsqueeze(0) < lengths.unsqueeze(1);
  torch::manual_seed(1);
  const auto x = torch::randn({3, 20, 16});
  const auto other = torch::where(mask.unsqueeze(2), x, 50 * torch::randn_like(x));
  std::vector<std::vector<torch::Tensor>> results;
  for (const auto& input : {x, other}) {
    torch::manual_seed(2);
    Conformer model(Small());
    const auto y = model.Forward(input, mask).back().masked_fill(mask.logical_not().unsqueeze(2), 0);
    y.square().sum().backward();
    std::vector<torch::Tensor> result = {y.detach()};
    for (const auto& p : model.parameters()) result.push_back(p.grad());
    for (const auto& b : model.buffers()) result.push_back(b);
    results.push_back(result);
  }
  for (size_t i = 0; i < results[0].size(); ++i) {
    EXPECT_LT(MaxDifference(results[0][i], results[1][i]), 1e-4) << i;
  }
}

TEST(Conformer, CausalConvolutionSeesNoLaterFrame) {
  auto options = Small();
  options.block.causal = true;
  options.depth = 1;
  torch::manual_seed(3);
  Conformer model(options);
  model.eval();
  EXPECT_EQ(model.buffers().size(), 0);  // no batch norm
  torch::NoGradGuard no_grad;
  for (auto& item : model.named_parameters()) {  // attention sees all frames: switch it off
    if (item.key().find("to_out") != std::string::npos) item.value().zero_();
  }
  const auto x = torch::randn({1, 12, 16});
  auto changed = x.clone();
  changed[0][8] += torch::randn({16});
  const auto difference =
      (model.Forward(x, {}).back() - model.Forward(changed, {}).back()).abs().amax(2).squeeze(0);
  EXPECT_EQ(difference.slice(0, 0, 8).max().item<double>(), 0);
  EXPECT_GT(difference.slice(0, 8, 12).min().item<double>(), 1e-6);
}

TEST(Conformer, StochasticDepthPassesBlocksBy) {
  auto options = Small();
  options.depth = 1;
  options.stochastic_depth = 0.999999;  // the only block's branches hardly ever act
  Conformer model(options);
  torch::NoGradGuard no_grad;
  const auto x = torch::randn({4, 12, 16});
  const auto layer_normed = torch::layer_norm(x, {16});
  EXPECT_LT(MaxDifference(model.Forward(x, {}).back(), layer_normed), 1e-6);
  model.eval();
  EXPECT_GT(MaxDifference(model.Forward(x, {}).back(), layer_normed), 1e-2);
}

// Peak resident memory since the last ResetPeak(), and now, in MiB.
double StatusMib(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    double kib = 0;
    if (word == field + ":" && status >> kib) return kib / 1024;
  }
  return std::numeric_limits<double>::quiet_NaN();
}

bool ResetPeak() {
  std::ofstream file("/proc/self/clear_refs");
  file << "5" << std::flush;
  return file.good();
}

TEST(Conformer, LongestUtteranceNeedsUnderOneGibibyte) {
  // T = 7193 is the longest in HW4's data. One head's scores take 197 MiB, the reference's table 12 GiB.
  auto options = Small();
  options.block.dim = 128;
  options.block.dim_head = 64;
  options.block.heads = 8;
  options.depth = 1;
  Conformer model(options);
  model.eval();
  const auto x = torch::randn({1, 7193, 128});
  if (!ResetPeak()) GTEST_SKIP() << "this kernel does not let the peak of memory be reset";
  const double before = StatusMib("VmRSS");
  {
    torch::InferenceMode inference;
    EXPECT_TRUE(model.Forward(x, {}).back().isfinite().all().item<bool>());
  }
  const double used = StatusMib("VmHWM") - before;
  RecordProperty("mebibytes", std::to_string(used));
  EXPECT_LT(used, 1024);
  EXPECT_GT(used, 8);  // the measurement works: queries, keys and values alone take 42 MiB
}

TEST(Conformer, TrainingMemoryIsLinearInFramesApartFromTheScores) {
  auto options = Small();
  options.block.dim_head = 64;
  options.block.heads = 1;
  options.depth = 1;
  Conformer model(options);
  const auto used = [&](int64_t frames) {
    const auto x = torch::randn({1, frames, 16});
    const double before = StatusMib("VmRSS");
    if (!ResetPeak()) return 0.0;
    model.Forward(x, {}).back().sum().backward();
    return StatusMib("VmHWM") - before;
  };
  used(64);
  const int64_t frames = 1536;
  const double mib = used(frames);
  const double scores =
      static_cast<double>(frames * frames * 4) / (1 << 20);  // 9 MiB; a (T, T, 64) table: 576
  RecordProperty("mebibytes", std::to_string(mib));
  EXPECT_LT(mib, 12 * scores);
}

}  // namespace
}  // namespace trainer::model
