// Each fused kernel against LibTorch's own operations, outputs and gradients, with the same dropout masks.
#include <gtest/gtest.h>
#include <torch/csrc/autograd/utils/lambda_post_hook.h>
#include <torch/csrc/autograd/variable.h>
#include <torch/torch.h>

#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <string>

#include "tests/trainer/max_difference.h"
#include "trainer/kernels/activation.h"
#include "trainer/kernels/add_norm.h"
#include "trainer/kernels/attention.h"
#include "trainer/kernels/batch_norm_silu.h"
#include "trainer/kernels/context.h"
#include "trainer/kernels/dropout.h"
#include "trainer/kernels/glu_depthwise.h"
#include "trainer/kernels/linear.h"
#include "trainer/model/conformer.h"
#include "trainer/model/relative_attention.h"
#include "trainer/model/transformer_encoder_layer.h"

namespace trainer::kernels {
namespace {

constexpr uint64_t kKey = 77;

struct Evaluated {
  torch::Tensor output;
  std::vector<torch::Tensor> gradients;
};

using Function = std::function<torch::Tensor(const std::vector<torch::Tensor>&)>;

// f's output, and the gradients of a fixed weighted sum of it by all inputs.
Evaluated Evaluate(const Function& f, std::vector<torch::Tensor> inputs, const Settings& settings,
                   const torch::Tensor& weights = {}) {
  for (auto& t : inputs) t = t.detach().clone().requires_grad_();
  const SettingsScope scope(settings);
  const DropoutScope dropout(kKey, 5);
  Evaluated result;
  result.output = f(inputs);
  const auto loss = (result.output.to(torch::kFloat32) *
                     (weights.defined() ? weights
                                        : torch::sin(torch::arange(result.output.numel()).to(torch::kFloat32))
                                              .view(result.output.sizes())))
                        .sum();
  result.gradients = torch::autograd::grad({loss}, inputs, {}, {}, false, /*allow_unused=*/true);
  for (size_t i = 0; i < inputs.size(); ++i) {  // one that the output does not depend on
    if (!result.gradients[i].defined()) result.gradients[i] = torch::zeros_like(inputs[i]);
  }
  return result;
}

double Relative(const torch::Tensor& a, const torch::Tensor& b) {
  return MaxDifference(a.to(torch::kFloat32), b.to(torch::kFloat32)) /
         std::max(1.0, b.abs().max().item<double>());
}

void ExpectAlike(const Evaluated& actual, const Evaluated& expected, double tolerance) {
  EXPECT_LT(Relative(actual.output, expected.output), tolerance);
  ASSERT_EQ(actual.gradients.size(), expected.gradients.size());
  for (size_t i = 0; i < actual.gradients.size(); ++i) {
    EXPECT_LT(Relative(actual.gradients[i], expected.gradients[i]), tolerance) << "input " << i;
  }
}

// Fused in float32 against plain; both in bfloat16 against plain in float32, within its 8 bits.
void ExpectFusedIsPlain(const Function& f, const std::vector<torch::Tensor>& inputs,
                        bool bfloat16_too = true) {
  const auto plain = Evaluate(f, inputs, {.fused = false});
  ExpectAlike(Evaluate(f, inputs, {.fused = true}), plain, 2e-5);
  if (!bfloat16_too) return;
  SCOPED_TRACE("bfloat16");
  ExpectAlike(Evaluate(f, inputs, {.fused = true, .precision = Precision::kBFloat16}), plain, 0.04);
}

// Frames that are real, of 3 utterances.
torch::Tensor SomeMask(int64_t frames) {
  auto mask = torch::ones({3, frames}, torch::kBool);
  mask[1].slice(0, frames / 2) = false;
  mask[2].slice(0, 1) = false;
  return mask;
}

TEST(FusedAddNorm, IsDropoutSumAndLayerNorm) {
  torch::manual_seed(1);
  for (const double probability : {0.0, 0.3}) {
    for (const int64_t width : {7, 80, 144}) {
      const std::vector<torch::Tensor> inputs = {torch::randn({3, 50, width}) + 2,
                                                 torch::randn({3, 50, width}), torch::randn({width}),
                                                 torch::randn({width})};
      ExpectFusedIsPlain(
          [&](const auto& in) {
            const auto [sum, normed] = AddNorm(in[0], in[1], 0.5, probability, in[2], in[3], true);
            return torch::cat({sum, normed}, 1);
          },
          inputs);
      ExpectFusedIsPlain(
          [&](const auto& in) { return AddNorm(in[0], in[1], 1, probability, in[2], in[3], true).normed; },
          inputs);
      ExpectFusedIsPlain(
          [&](const auto& in) { return AddNorm(in[0], in[1], 1, probability, in[2], in[3], true).sum; },
          inputs);
      ExpectFusedIsPlain(
          [&](const auto& in) { return AddNorm(in[0], {}, 1, probability, in[1], in[2], true).normed; },
          {inputs[0], inputs[2], inputs[3]});
    }
  }
}

TEST(FusedActivation, IsActivationAndDropout) {
  torch::manual_seed(2);
  for (const auto activation : {Activation::kRelu, Activation::kSilu, Activation::kGelu}) {
    for (const double probability : {0.0, 0.2}) {
      ExpectFusedIsPlain([&](const auto& in) { return ActivateAndDrop(in[0], activation, probability); },
                         {3 * torch::randn({3, 20, 37})});
    }
  }
}

TEST(FusedActivation, StaysFiniteAtTheEnds) {
  const auto x = torch::tensor({-1e4F, -100.0F, 0.0F, 100.0F, 1e4F}).view({1, 5});
  const auto y =
      Evaluate([](const auto& in) { return ActivateAndDrop(in[0], Activation::kSilu, 0); }, {x}, {});
  EXPECT_TRUE(y.output.isfinite().all().item<bool>());
  EXPECT_TRUE(y.gradients[0].isfinite().all().item<bool>());
  EXPECT_FLOAT_EQ(y.output[0][4].item<float>(), 1e4F);
}

TEST(FusedAttention, IsAttentionOfTheTransformer) {
  torch::manual_seed(3);
  for (const double dropout : {0.0, 0.2}) {
    for (const bool masked : {false, true}) {
      for (const int64_t frames : {1, 6, 130, 300}) {
        auto attention = std::make_shared<model::SelfAttention>(24, 3, dropout);
        const auto mask = masked && frames > 1 ? SomeMask(frames) : torch::Tensor();
        SCOPED_TRACE(testing::Message()
                     << "dropout " << dropout << ", " << frames << " frames, masked " << masked);
        ExpectFusedIsPlain([&](const auto& in) { return attention->Forward(in[0], mask); },
                           {torch::randn({3, frames, 24})});
      }
    }
  }
}

TEST(FusedAttention, IsRelativeAttention) {
  torch::manual_seed(4);
  const int64_t heads = 2, width = 5;
  for (const bool masked : {false, true}) {
    for (const int64_t frames : {1, 7, 129, 280}) {
      const auto mask = masked && frames > 1 ? SomeMask(frames) : torch::Tensor();
      const std::vector<torch::Tensor> inputs = {torch::randn({3, frames, 3 * heads * width}),
                                                 torch::randn({2 * 40 + 1, width})};
      const auto reference = [&](const std::vector<torch::Tensor>& in) {
        const auto qkv = in[0].view({3, frames, 3, heads, width}).permute({2, 0, 3, 1, 4}).unbind(0);
        return model::RelativeAttention(qkv[0], qkv[1], qkv[2], in[1], mask)
            .transpose(1, 2)
            .reshape({3, frames, heads * width});
      };
      SCOPED_TRACE(testing::Message() << frames << " frames, masked " << masked);
      ExpectAlike(
          Evaluate([&](const auto& in) { return FusedAttention(in[0], heads, in[1], mask, 0); }, inputs, {}),
          Evaluate(reference, inputs, {.fused = false}), 2e-5);
    }
  }
}

TEST(FusedGluDepthwise, IsTheConvolutionOfTheConformer) {
  torch::manual_seed(5);
  const auto options = [](int64_t kernel, bool causal, const std::string& norm) {
    return model::ConformerBlockOptions{.dim = 10,
                                        .dim_head = 4,
                                        .heads = 2,
                                        .ff_mult = 2,
                                        .conv_expansion_factor = 2,
                                        .conv_kernel_size = kernel,
                                        .max_distance = 30,
                                        .attn_dropout = 0.1,
                                        .ff_dropout = 0.2,
                                        .conv_dropout = 0.3,
                                        .causal = causal,
                                        .conv_norm = norm};
  };
  for (const int64_t kernel : {1, 4, 15, 31}) {
    for (const bool causal : {false, true}) {
      for (const std::string norm : {"batch", "layer"}) {
        for (const bool masked : {false, true}) {
          model::ConformerBlock block(options(kernel, causal, norm), 0.2);
          for (auto& parameter : block.parameters()) {
            if (parameter.dim() == 1) torch::nn::init::normal_(parameter, 0.5, 0.5);
          }
          const auto mask = masked ? SomeMask(21) : torch::Tensor();
          SCOPED_TRACE(testing::Message() << "kernel " << kernel << ", causal " << causal << ", " << norm
                                          << ", masked " << masked);
          // With gradients of all parameters; what stands in padding says nothing.
          auto inputs = block.parameters();
          const auto x = torch::randn({3, 21, 10});
          const auto run = [&](const Settings& settings) {
            const SettingsScope scope(settings);
            const DropoutScope dropout(kKey, 0);
            auto y = block.Forward(x, mask);
            if (masked) y = y.masked_fill(mask.logical_not().unsqueeze(2), 0);
            Evaluated result{y, {}};
            const auto weights = torch::cos(torch::arange(y.numel()).to(torch::kFloat32)).view(y.sizes());
            result.gradients = torch::autograd::grad({(y * weights).sum()}, inputs);
            return result;
          };
          ExpectAlike(run({.fused = true}), run({.fused = false}), 5e-5);
        }
      }
    }
  }
}

TEST(FusedBatchNormSilu, NormsAndGivesItsStatistics) {
  torch::manual_seed(6);
  const auto x = torch::randn({3, 90, 19}) * 2 + 5;
  const auto mask = SomeMask(90);
  const auto moments_of = [&](const torch::Tensor& rows) {
    const SettingsScope scope({});
    auto in = x.clone().requires_grad_();
    return BatchNormSilu(in, rows, torch::ones({19}), torch::zeros({19}), nullptr).second;
  };
  const auto rows = x.view({-1, 19});
  EXPECT_LT(MaxDifference(moments_of({}).mean, rows.mean(0)), 1e-5);
  EXPECT_LT(MaxDifference(moments_of({}).variance, rows.var(0, /*unbiased=*/false)), 1e-4);
  const auto kept = rows.index({mask.view(-1)});
  const auto masked = moments_of(mask.view(-1));
  EXPECT_EQ(masked.count.item<float>(), static_cast<float>(kept.size(0)));
  EXPECT_LT(MaxDifference(masked.mean, kept.mean(0)), 1e-5);
  EXPECT_LT(MaxDifference(masked.variance, kept.var(0, false)), 1e-4);
  // Two ranks with the same rows have the same statistics, and gradients as one rank with the rows twice.
  const auto twice = std::make_shared<const AllReduce>([](const torch::Tensor& sum) { sum.mul_(2); });
  const std::vector<torch::Tensor> inputs = {x, torch::randn({19}), torch::randn({19})};
  const auto alone = Evaluate(
      [&](const auto& in) { return BatchNormSilu(in[0], {}, in[1], in[2], nullptr).first; }, inputs, {});
  const auto shared = Evaluate(
      [&](const auto& in) { return BatchNormSilu(in[0], {}, in[1], in[2], twice).first; }, inputs, {});
  ExpectAlike(shared, alone, 1e-5);
}

TEST(FusedKernels, GiveTheSameBitsOnAnyNumberOfThreads) {
  torch::manual_seed(7);
  const auto layer = std::make_shared<model::TransformerEncoderLayer>(model::TransformerEncoderLayerOptions{
      .d_model = 16, .heads = 2, .feed_forward = 40, .dropout = 0.1, .activation = "relu"});
  const auto x = torch::randn({9, 200, 16});
  const auto run = [&](int threads) {
    const int before = at::get_num_threads();
    at::set_num_threads(threads);
    auto inputs = std::vector<torch::Tensor>{x};
    const auto result = Evaluate([&](const auto& in) { return layer->Forward(in[0], {}); }, inputs, {});
    at::set_num_threads(before);
    return result;
  };
  const auto one = run(1), three = run(3);
  EXPECT_TRUE(torch::equal(one.output, three.output));
  EXPECT_TRUE(torch::equal(one.gradients[0], three.gradients[0]));
}

TEST(DropoutByCounter, DependsOnTheUtterancesPlaceAlone) {
  const auto x = torch::ones({6, 4, 50});
  const auto drop = [&](const torch::Tensor& part, uint64_t key, int64_t first) {
    const DropoutScope scope(key, first);
    return std::pair{Dropout(part, 0.4), Dropout(part, 0.4)};
  };
  const auto all = drop(x, 1, 0);
  EXPECT_FALSE(torch::equal(all.first, all.second)) << "two places dropped the same";
  const auto back = drop(x.slice(0, 4), 1, 4);  // as a second rank's part
  EXPECT_TRUE(torch::equal(all.first.slice(0, 4), back.first));
  EXPECT_TRUE(torch::equal(all.second.slice(0, 4), back.second));
  EXPECT_FALSE(torch::equal(all.first, drop(x, 2, 0).first)) << "another step dropped the same";
  EXPECT_FALSE(torch::equal(all.first[0], all.first[1])) << "two utterances dropped the same";
  const auto whole = [&] {
    const DropoutScope scope(3, 0);
    return DropUtterances(torch::ones({4000, 2, 3}), 0.25);
  }();
  EXPECT_TRUE(torch::equal(whole.amax({1, 2}), whole.amin({1, 2})));
  EXPECT_NEAR(whole.eq(0).to(torch::kFloat32).mean().item<double>(), 0.25, 0.04);
}

TEST(Linear, MultipliesInBFloat16WhereAsked) {
  torch::manual_seed(8);
  const std::vector<torch::Tensor> inputs = {torch::randn({3, 40, 24}), torch::randn({30, 24}),
                                             torch::randn({30})};
  const auto f = [](const auto& in) { return kernels::Linear(in[0], in[1], in[2]); };
  const auto exact = Evaluate(f, inputs, {}),
             rounded = Evaluate(f, inputs, {.precision = Precision::kBFloat16});
  EXPECT_EQ(rounded.output.scalar_type(), torch::kBFloat16);
  for (const auto& gradient : rounded.gradients) EXPECT_EQ(gradient.scalar_type(), torch::kFloat32);
  ExpectAlike(rounded, exact, 0.04);
  EXPECT_FALSE(torch::equal(rounded.gradients[1], exact.gradients[1]));
}

TEST(Linear, HasTheSameGradientsFromBothLibraries) {
  torch::manual_seed(10);
  const auto f = [](const auto& in) { return kernels::Linear(in[0], in[1], in[2]); };
  // Outputs wider and narrower than inputs; a convolution over one frame.
  for (const auto& sizes : {std::vector<int64_t>{300, 96}, {300, 96, 1}, {70, 96}, {70, 96, 1}}) {
    const std::vector<torch::Tensor> inputs = {torch::randn({3, 40, 96}), torch::randn(sizes),
                                               torch::randn({sizes[0]})};
    const auto expected =
        Evaluate([](const auto& in) { return torch::linear(in[0], in[1].flatten(1), in[2]); }, inputs, {});
    for (const auto library : {Library::kOneDnn, Library::kMkl}) {
      ExpectAlike(Evaluate(f, inputs, {.backward = library}), expected, 1e-5);
    }
    // MKL's are LibTorch's own products, to the last bit.
    const auto d_output = torch::randn({120, sizes[0]});
    const auto by_mkl =
        Evaluate(f, inputs, {.backward = Library::kMkl}, d_output.view({3, 40, sizes[0]})).gradients;
    EXPECT_TRUE(torch::equal(by_mkl[0].flatten(0, 1), at::mm(d_output, inputs[1].flatten(1))));
    const auto rows = inputs[0].flatten(0, 1);
    const auto d_weight = sizes[0] > 96 ? at::mm(rows.t(), d_output).t() : at::mm(d_output.t(), rows);
    EXPECT_TRUE(torch::equal(by_mkl[1].flatten(1), d_weight));
  }
}

TEST(Linear, TakesMklOnIntelsProcessors) {
  std::ifstream file("/proc/cpuinfo");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  if (text.empty()) GTEST_SKIP() << "no /proc/cpuinfo, which would say who made this processor";
  const bool intel = text.find("GenuineIntel") != std::string::npos;
  EXPECT_EQ(BackwardLibrary() == Library::kMkl, intel && at::hasMKL());
  EXPECT_EQ(Settings().backward, BackwardLibrary());
}

TEST(Linear, AddsToTheGradientOfItsWeightWhereAsked) {
  torch::manual_seed(9);
  const auto x = torch::randn({3, 8, 24}), first = torch::randn({30, 24});  // fewer rows than the weights
  // As a layer has it, and as a convolution over one frame; one whose product is wider than high.
  for (const auto& sizes : {std::vector<int64_t>{30, 24}, {30, 24, 1}, {10, 24}}) {
    const auto start = torch::randn(sizes), values = torch::randn(sizes);
    int added = 0;  // in place: autograd gets no gradient
    const auto gradient = [&](const Settings& settings) {
      auto weight = values.clone().requires_grad_();
      weight.mutable_grad() = start.clone();
      const auto place = weight.grad().data_ptr();
      int calls = 0;
      const auto accumulator = torch::autograd::impl::grad_accumulator(weight);
      accumulator->add_post_hook(std::make_unique<torch::autograd::utils::LambdaPostHook>(
          [&](const torch::autograd::variable_list& outputs, const torch::autograd::variable_list& inputs) {
            ++calls;
            added += !inputs.at(0).defined();
            return outputs;
          }));
      const SettingsScope scope(settings);
      for (int i = 0; i < 2; ++i) kernels::Linear(x, weight, {}).square().sum().backward();
      EXPECT_EQ(calls, 2);  // buckets are counted by it
      EXPECT_EQ(weight.grad().data_ptr(), place);
      return weight.grad();
    };
    const auto expected = gradient({});
    EXPECT_EQ(added, 0);
    EXPECT_GT(Relative(start, expected), 0.1);
    EXPECT_LT(Relative(gradient({.accumulate = true, .backward = Library::kMkl}), expected), 1e-5);
    EXPECT_EQ(added, 2);
    // oneDNN only on some processors in place.
    EXPECT_LT(Relative(gradient({.accumulate = true, .backward = Library::kOneDnn}), expected), 1e-5);
    EXPECT_LT(Relative(gradient({.precision = Precision::kBFloat16, .accumulate = true}), expected), 0.04);
  }
  auto without = first.clone().requires_grad_();
  const SettingsScope scope({.accumulate = true});
  kernels::Linear(x, without, {}).sum().backward();
  EXPECT_LT(Relative(without.grad(), x.flatten(0, 1).sum(0).expand({30, 24})), 1e-5);
}

}  // namespace
}  // namespace trainer::kernels
