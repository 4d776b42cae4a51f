// The formula against the operations that really run, counted as they are dispatched.
#include "trainer/model/flops.h"

#include <ATen/record_function.h>
#include <gtest/gtest.h>

#include <map>

#include "trainer/config/config.h"
#include "trainer/kernels/context.h"
#include "trainer/model/factory.h"

namespace trainer::model {
namespace {

std::map<std::string, double>* counts = nullptr;

double Elements(const c10::IValue& tensor) { return static_cast<double>(tensor.toTensor().numel()); }
double Size(const c10::IValue& tensor, int64_t dim) {
  return static_cast<double>(tensor.toTensor().size(dim));
}

// aten::convolution: each output element is a dot product with a kernel over the channels of its group.
double ConvolutionFlops(c10::ArrayRef<const c10::IValue> in) {
  const auto &x = in[0].toTensor(), &weight = in[1].toTensor();
  const auto stride = in[3].toIntVector(), padding = in[4].toIntVector();
  int64_t outputs = x.size(0) * weight.size(0);
  for (int64_t dim = 2; dim < x.dim(); ++dim) {
    // One number stands for all dimensions.
    const auto at = [&](const std::vector<int64_t>& list) {
      return list.size() == 1 ? list[0] : list.at(dim - 2);
    };
    outputs *= (x.size(dim) + 2 * at(padding) - weight.size(dim)) / at(stride) + 1;
  }
  return 2 * static_cast<double>(outputs * (weight.numel() / weight.size(0)));
}

// Floating-point operations of one call of an ATen operator; 0 for those that multiply no matrices.
double FlopsOf(const std::string& name, c10::ArrayRef<const c10::IValue> in) {
  if (name == "aten::mm" || name == "aten::bmm") return 2 * Elements(in[0]) * Size(in[1], -1);
  if (name == "aten::addmm" || name == "aten::baddbmm") return 2 * Elements(in[1]) * Size(in[2], -1);
  if (name == "mkldnn::_linear_pointwise") return 2 * Elements(in[0]) * Size(in[1], 0);
  if (name == "aten::convolution") return ConvolutionFlops(in);
  return 0;
}

class Counter {
 public:
  Counter() {
    counts = &counts_;
    handle_ =
        at::addGlobalCallback(at::RecordFunctionCallback(
                                  [](const at::RecordFunction& call) -> std::unique_ptr<at::ObserverContext> {
                                    const std::string name = call.name();
                                    if (const double flops = FlopsOf(name, call.inputs()); flops > 0)
                                      (*counts)[name] += flops;
                                    return nullptr;
                                  })
                                  .needsInputs(true)
                                  .scopes({at::RecordScope::FUNCTION}));
  }
  ~Counter() { at::removeCallback(handle_); }

  double total() const {
    double sum = 0;
    for (const auto& [name, flops] : counts_) sum += flops;
    return sum;
  }
  std::string List() const {
    std::string list;
    for (const auto& [name, flops] : counts_) list += name + " " + std::to_string(flops) + "\n";
    return list;
  }

 private:
  std::map<std::string, double> counts_;
  at::CallbackHandle handle_;
};

struct Case {
  const char* name;
  std::vector<std::string> overrides;
};

class FlopsTest : public ::testing::TestWithParam<Case> {
 protected:
  static constexpr int64_t kBatch = 3, kFrames = 50, kMels = 24, kSpeakers = 30;

  const config::Config config_ = config::ParseConfig("", "test.yaml", GetParam().overrides).value();
};

TEST_P(FlopsTest, AreThoseOfTheOperationsThatRun) {
  torch::manual_seed(1);
  const auto model = MakeModel(config_, kMels, kSpeakers);
  model->train();
  const double expected = kBatch * ForwardFlops(config_, kMels, kSpeakers, kFrames);
  torch::Tensor logits;
  {
    // Fused kernels multiply without telling LibTorch.
    const kernels::SettingsScope plain({.fused = false});
    const Counter forward;
    logits = model->Forward(torch::randn({kBatch, kFrames, kMels}), torch::Tensor());
    EXPECT_DOUBLE_EQ(forward.total(), expected) << forward.List();
  }
  const Counter backward;
  logits.sum().backward();
  if (GetParam().overrides.empty()) {
    // All but the gradient of the mels, which nobody asks for.
    const double mels = 2.0 * kBatch * kFrames * kMels * static_cast<double>(config_.model.d_model);
    EXPECT_DOUBLE_EQ(backward.total(), 2 * expected - mels) << backward.List();
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, FlopsTest,
    ::testing::Values(
        Case{"Simple", {}},
        Case{"Medium", {"model.layers=2", "model.heads=1", "model.feed_forward=512", "model.head=linear"}},
        Case{"Conformer", {"model.type=conformer", "model.depth=2"}},
        Case{"Subsampled",
             {"model.type=conformer", "model.depth=1", "model.subsampling=4", "model.head=linear"}},
        Case{"Boss",
             {"model.type=conformer", "model.depth=2", "model.mfa=true", "model.pooling=attentive_statistics",
              "model.embedding=32", "model.head=cosine", "loss.sub_centres=2", "model.conv_kernel_size=31"}}),
    [](const auto& parameter) { return parameter.param.name; });

}  // namespace
}  // namespace trainer::model
