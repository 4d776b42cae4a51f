// Sums of gradients over real ranks have closed-form answers, whatever the buckets.
#include "trainer/engine/gradient_reducer.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "launcher/control.h"
#include "launcher/mpi_session.h"

namespace trainer::engine {
namespace {

struct Stack : torch::nn::Module {
  explicit Stack(int64_t depth) {
    for (int64_t i = 0; i < depth; ++i) {
      layers.push_back(register_module("layer" + std::to_string(i), torch::nn::Linear(8, 8)));
    }
    unused = register_module("unused", torch::nn::Linear(8, 8));
  }
  torch::Tensor Forward(torch::Tensor x) {
    for (auto& layer : layers) x = torch::tanh(layer(x));
    return x;
  }
  std::vector<torch::nn::Linear> layers;
  torch::nn::Linear unused{nullptr};  // takes no part in forward: its bucket is never counted down
};

torch::Tensor InputOf(int rank) {
  torch::manual_seed(100 + rank);
  return torch::randn({4, 8});
}

class GradientReducerTest : public ::testing::TestWithParam<double> {
 protected:
  GradientReducerTest() : world_(launcher::World::FromMpi()) {}

  // What one rank with everybody's input would get.
  torch::Tensor SumOfGradients(Stack& model, const optim::FlatParameters& parameters) {
    parameters.gradients_and_tail().zero_();
    for (int rank = 0; rank < world_.size; ++rank) model.Forward(InputOf(rank)).square().sum().backward();
    return parameters.gradients().clone();
  }

  launcher::World world_;
};

TEST_P(GradientReducerTest, SumsGradientsAndTailOverRanks) {
  torch::manual_seed(1);
  Stack model(6);
  optim::FlatParameters parameters(model, 2);
  const auto expected = SumOfGradients(model, parameters);
  const auto communicator = launcher::MakeCommunicator(world_, torch::kCPU);
  GradientReducer reducer(parameters, *communicator, {GetParam() / 4, GetParam()});
  if (GetParam() < 1e-3) {
    EXPECT_GT(reducer.buckets(), 3);
  } else {
    EXPECT_EQ(reducer.buckets(), 1);
  }
  for (int step = 0; step < 3; ++step) {
    parameters.gradients_and_tail().zero_();
    parameters.tail()[0].fill_(world_.rank + 1);
    const auto loss = model.Forward(InputOf(world_.rank)).square().sum();
    reducer.Arm();
    loss.backward();
    reducer.Finish();
    EXPECT_TRUE(torch::allclose(parameters.gradients(), expected, 1e-5, 1e-6)) << "step " << step;
    EXPECT_EQ(parameters.tail()[0].item<float>(), world_.size * (world_.size + 1) / 2);
    EXPECT_TRUE(launcher::AllEqual(static_cast<uint64_t>(parameters.gradients().sum().item<float>() * 1e6)));
  }
}

TEST_P(GradientReducerTest, AccumulatesMicroBatchesBeforeReducing) {
  torch::manual_seed(1);
  Stack model(3);
  optim::FlatParameters parameters(model, 2);
  const auto expected = SumOfGradients(model, parameters) * 2;
  const auto communicator = launcher::MakeCommunicator(world_, torch::kCPU);
  GradientReducer reducer(parameters, *communicator, {GetParam() / 4, GetParam()});
  parameters.gradients_and_tail().zero_();
  model.Forward(InputOf(world_.rank)).square().sum().backward();
  reducer.Arm();
  model.Forward(InputOf(world_.rank)).square().sum().backward();
  reducer.Finish();
  EXPECT_TRUE(torch::allclose(parameters.gradients(), expected, 1e-5, 1e-6));
}

// One rank has no batch: it must not keep the others waiting.
TEST_P(GradientReducerTest, ARankWithoutABatchTakesPart) {
  torch::manual_seed(1);
  Stack model(3);
  optim::FlatParameters parameters(model, 2);
  const auto communicator = launcher::MakeCommunicator(world_, torch::kCPU);
  GradientReducer reducer(parameters, *communicator, {GetParam() / 4, GetParam()});
  parameters.gradients_and_tail().zero_();
  const bool fails = world_.rank == world_.size - 1;
  if (fails) {
    parameters.tail()[1].fill_(1);
  } else {
    const auto loss = model.Forward(InputOf(world_.rank)).square().sum();
    reducer.Arm();
    loss.backward();
  }
  reducer.Finish();
  EXPECT_EQ(parameters.tail()[1].item<float>(), 1);
}

INSTANTIATE_TEST_SUITE_P(BucketMib, GradientReducerTest, ::testing::Values(1e-4, 5e-4, 4.0));

}  // namespace
}  // namespace trainer::engine
