#include <gtest/gtest.h>
#include <torch/torch.h>

#include "trainer/optim/adamw.h"
#include "trainer/optim/flat_parameters.h"

namespace trainer::optim {
namespace {

struct TwoLayers : torch::nn::Module {
  TwoLayers() {
    first = register_module("first", torch::nn::Linear(3, 5));
    second = register_module("second", torch::nn::Linear(5, 2));
  }
  torch::Tensor Forward(const torch::Tensor& x) { return second(torch::relu(first(x))); }
  torch::nn::Linear first{nullptr}, second{nullptr};
};

TEST(FlatParameters, KeepsValuesAndLaysThemOutAsBackwardFinishes) {
  torch::manual_seed(1);
  TwoLayers module;
  const auto before = module.first->weight.detach().clone();
  const FlatParameters flat(module, 4);
  EXPECT_TRUE(torch::equal(module.first->weight, before));
  ASSERT_EQ(flat.slots().size(), 4u);
  EXPECT_EQ(flat.slots()[0].name, "second.bias");
  EXPECT_EQ(flat.slots()[3].name, "first.weight");
  for (const auto& slot : flat.slots()) {
    EXPECT_EQ(slot.offset % 16, 0);
    EXPECT_EQ(slot.parameter.data_ptr<float>(), flat.values().data_ptr<float>() + slot.offset);
  }
  EXPECT_EQ(flat.gradients_and_tail().size(0), flat.values().size(0) + 4);
}

TEST(FlatParameters, BackwardAccumulatesIntoTheBuffer) {
  torch::manual_seed(1);
  TwoLayers module, plain;
  {
    torch::NoGradGuard no_grad;
    for (size_t i = 0; i < module.parameters().size(); ++i)
      plain.parameters()[i].copy_(module.parameters()[i]);
  }
  const FlatParameters flat(module, 4);
  const auto x = torch::randn({4, 3});
  for (int round = 0; round < 2; ++round) {  // the second accumulates
    module.Forward(x).square().sum().backward();
    plain.Forward(x).square().sum().backward();
  }
  for (const auto& slot : flat.slots()) {
    EXPECT_EQ(slot.parameter.grad().data_ptr<float>(), flat.gradients().data_ptr<float>() + slot.offset);
    EXPECT_TRUE(torch::allclose(slot.parameter.grad(), plain.named_parameters()[slot.name].grad()));
  }
  EXPECT_EQ(flat.tail().abs().sum().item<float>(), 0);
}

TEST(FlatParameters, GapsStayZeroOverUpdates) {
  TwoLayers module;
  const FlatParameters flat(module, 4);
  AdamW optimizer(flat, {});
  for (int i = 0; i < 3; ++i) {
    module.Forward(torch::randn({4, 3})).sum().backward();
    optimizer.Step(0.1);
  }
  auto rest = flat.values().clone();
  for (const auto& slot : flat.slots()) rest.narrow(0, slot.offset, slot.size).zero_();
  EXPECT_EQ(rest.abs().sum().item<float>(), 0);
}

// Its norm is taken part by part, here of three parts; the last and smallest weighs most.
TEST(AdamW, MeasuringAnUpdateDoesNotChangeIt) {
  constexpr int64_t kSize = (int64_t{1} << 23) + 1003;
  struct Vector : torch::nn::Module {
    Vector() : values(register_parameter("values", torch::linspace(-1, 1, kSize))) {
      torch::NoGradGuard no_grad;
      values.slice(0, kSize - 1003).fill_(1e4);  // decays by much
    }
    torch::Tensor values;
  };
  Vector plain, measured;
  const FlatParameters plain_parameters(plain, 0), measured_parameters(measured, 0);
  AdamW plain_optimizer(plain_parameters, {}), measuring_optimizer(measured_parameters, {});
  for (int i = 0; i < 3; ++i) {
    plain_parameters.gradients().narrow(0, 0, kSize).copy_(torch::sin(torch::arange(kSize) * (i + 1)));
    measured_parameters.gradients().copy_(plain_parameters.gradients());
    const auto before = plain_parameters.values().clone();
    const auto expected = plain_optimizer.Step(0.01);
    const auto norms = measuring_optimizer.Step(0.01, /*measure_update=*/true);
    EXPECT_TRUE(torch::equal(measured_parameters.values(), plain_parameters.values()));
    EXPECT_TRUE(torch::equal(norms.gradient, expected.gradient));
    EXPECT_FALSE(expected.update.defined());
    const auto update = (plain_parameters.values() - before).to(torch::kFloat64).norm().item<double>();
    EXPECT_NEAR(norms.update.item<double>(), update, 5e-3 * update);  // summed in float32
  }
  EXPECT_TRUE(torch::equal(measuring_optimizer.exp_avg(), plain_optimizer.exp_avg()));
  EXPECT_TRUE(torch::equal(measuring_optimizer.exp_avg_sq(), plain_optimizer.exp_avg_sq()));
}

TEST(FlatParameters, HashChangesWithTheLastBit) {
  TwoLayers module;
  const FlatParameters flat(module, 0);
  const auto before = flat.Hash();
  EXPECT_EQ(flat.Hash(), before);
  {
    torch::NoGradGuard no_grad;
    module.second->bias[0] = std::nextafter(module.second->bias[0].item<float>(), 10.0f);
  }
  EXPECT_NE(flat.Hash(), before);
}

}  // namespace
}  // namespace trainer::optim
