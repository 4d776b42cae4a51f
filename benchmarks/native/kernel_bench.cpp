// What each fused kernel gains alone: `kernel_bench SECONDS [PART OF A NAME]`. For each, LibTorch's
// operations for the same and ours take turns, forward and backward in one thread; a line of JSON has the
// median of the turns of both.
#include <torch/torch.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "trainer/kernels/activation.h"
#include "trainer/kernels/add_norm.h"
#include "trainer/kernels/attention.h"
#include "trainer/kernels/batch_norm_silu.h"
#include "trainer/kernels/context.h"
#include "trainer/kernels/dropout.h"
#include "trainer/kernels/glu_depthwise.h"
#include "trainer/kernels/linear.h"

namespace {

namespace kernels = trainer::kernels;

constexpr int kTurns = 9;
constexpr int64_t kBatch = 32, kFrames = 128;
constexpr double kDropout = 0.1;

using Operation = std::function<torch::Tensor()>;

torch::Tensor Leaf(at::IntArrayRef sizes) { return torch::randn(sizes).requires_grad_(); }

// Seconds of one forward and backward.
double Time(const Operation& operation, const torch::Tensor& gradient, int64_t calls) {
  const auto start = std::chrono::steady_clock::now();
  for (int64_t i = 0; i < calls; ++i) operation().backward(gradient);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() /
         static_cast<double>(calls);
}

double Median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + kTurns / 2, values.end());
  return values[kTurns / 2];
}

std::string wanted;  // part of a kernel's name

void Compare(const std::string& kernel, const std::string& shape, double seconds, const Operation& plain,
             const Operation& ours) {
  if (kernel.find(wanted) == std::string::npos) return;
  const auto gradient = torch::randn_like(plain());
  const double once = std::max(Time(plain, gradient, 2), Time(ours, gradient, 2));
  const auto calls = std::max<int64_t>(1, static_cast<int64_t>(seconds / once / kTurns / 2));
  std::vector<double> plain_seconds, ours_seconds;
  for (int turn = 0; turn < kTurns; ++turn) {
    plain_seconds.push_back(Time(plain, gradient, calls));
    ours_seconds.push_back(Time(ours, gradient, calls));
  }
  std::printf("{\"kernel\": \"%s\", \"shape\": \"%s\", \"plain_seconds\": %.6g, \"ours_seconds\": %.6g}\n",
              kernel.c_str(), shape.c_str(), Median(plain_seconds), Median(ours_seconds));
  std::fflush(stdout);
}

std::string Shape(int64_t width, int64_t batch = kBatch) {
  return "(" + std::to_string(batch) + ", 128, " + std::to_string(width) + ")";
}

void CompareLinear(int64_t batch, int64_t in, int64_t out, double seconds) {
  const auto x = Leaf({batch, kFrames, in}), weight = Leaf({out, in}), bias = Leaf({out});
  for (const auto library : {kernels::Library::kOneDnn, kernels::Library::kMkl}) {
    const bool is_default = library == kernels::BackwardLibrary();
    Compare(
        std::string("linear, backward by ") + (library == kernels::Library::kMkl ? "MKL" : "oneDNN") +
            (is_default ? " (chosen)" : ""),
        Shape(in, batch) + " to " + std::to_string(out), seconds,
        [&] { return torch::linear(x, weight, bias); },
        [&] {
          const kernels::SettingsScope scope({.accumulate = true, .backward = library});  // as training does
          return kernels::Linear(x, weight, bias);
        });
  }
}

void CompareAttention(int64_t heads, int64_t width, bool relative, double seconds) {
  const int64_t inner = heads * width, farthest = 512;
  const auto packed = Leaf({kBatch, kFrames, 3 * inner});
  const auto positions = relative ? Leaf({2 * farthest + 1, width}) : torch::Tensor();
  const auto at = torch::arange(kFrames);
  const auto distances = (at.unsqueeze(1) - at.unsqueeze(0)).clamp(-farthest, farthest) + farthest;
  const auto plain = [&] {
    const auto qkv = packed.view({kBatch, kFrames, 3, heads, width}).permute({2, 0, 3, 1, 4});
    std::optional<torch::Tensor> bias;
    if (relative) {
      // Through a product with all distances, as an expert does it: without the table (T, T, dh).
      const auto index = distances.expand({kBatch, heads, kFrames, kFrames});
      bias = torch::matmul(qkv[0], positions.t()).gather(3, index) / std::sqrt(static_cast<double>(width));
    }
    const auto heads_out =
        torch::scaled_dot_product_attention(qkv[0], qkv[1], qkv[2], bias, relative ? 0.0 : kDropout);
    return heads_out.transpose(1, 2).reshape({kBatch, kFrames, inner});
  };
  Compare(relative ? "attention with relative positions" : "attention with dropout",
          Shape(inner) + ", " + std::to_string(heads) + " heads", seconds, plain,
          [&] { return kernels::FusedAttention(packed, heads, positions, {}, relative ? 0.0 : kDropout); });
}

void Run(double seconds) {
  for (const auto& [in, out] : {std::pair{80, 256}, std::pair{224, 672}, std::pair{512, 2048}}) {
    CompareLinear(kBatch, in, out, seconds);
  }
  CompareLinear(4, 512, 2048, seconds);  // few rows: weights' gradients are added in place
  for (const int64_t width : {80, 512}) {
    const auto x = Leaf({kBatch, kFrames, width}), branch = Leaf({kBatch, kFrames, width});
    const auto weight = Leaf({width}), bias = Leaf({width});
    Compare(
        "dropout", Shape(width), seconds, [&] { return torch::dropout(x, kDropout, true); },
        [&] { return kernels::Dropout(x, kDropout); });
    Compare(
        "dropout, residual sum, layer norm", Shape(width), seconds,
        [&] { return torch::layer_norm(x + torch::dropout(branch, kDropout, true), {width}, weight, bias); },
        [&] { return kernels::AddNorm(x, branch, 1, kDropout, weight, bias, true).normed; });
    Compare(
        "ReLU, dropout", Shape(width), seconds,
        [&] { return torch::dropout(torch::relu(x), kDropout, true); },
        [&] { return kernels::ActivateAndDrop(x, kernels::Activation::kRelu, kDropout); });
  }
  CompareAttention(2, 40, false, seconds);
  CompareAttention(4, 56, false, seconds);
  CompareAttention(4, 36, true, seconds);
  for (const int64_t width : {288, 1024}) {
    const auto gated = Leaf({kBatch, kFrames, 2 * width}), x = Leaf({kBatch, kFrames, width});
    const auto taps = Leaf({width, 1, 31}), weight = Leaf({width}), bias = Leaf({width});
    Compare(
        "GLU, depthwise convolution", Shape(width) + ", kernel 31", seconds,
        [&] {
          const auto frames = torch::glu(gated, -1).transpose(1, 2);
          return torch::conv1d(frames, taps, bias, 1, 15, 1, width).transpose(1, 2);
        },
        [&] { return kernels::GluDepthwise(gated, {}, taps, bias, true, 15); });
    Compare(
        "batch norm, Swish", Shape(width), seconds,
        [&] {
          const auto rows = x.view({-1, width});
          return torch::silu(torch::batch_norm(rows, weight, bias, {}, {}, true, 0, 1e-5, false)).view_as(x);
        },
        [&] { return kernels::BatchNormSilu(x, {}, weight, bias, nullptr).first; });
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2 && argc != 3) {
    std::fprintf(stderr, "usage: kernel_bench SECONDS [PART OF A NAME]\n");
    return 2;
  }
  if (argc == 3) wanted = argv[2];
  at::set_num_threads(1);
  torch::manual_seed(1);
  Run(std::atof(argv[1]));
  return 0;
}
