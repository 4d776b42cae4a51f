// Matrix multiplication, where nearly all of a step's time goes.
#pragma once

#include <torch/torch.h>

namespace trainer::kernels {

// torch.nn.functional.linear: x (..., I) weight (O, I)^T + bias (O), which may be undefined. The weight may
// also be that of a convolution over one frame, (O, I, 1). Returns (..., O), in float32 or, with
// Precision::kBFloat16 on a CPU, where x may be of either type, bfloat16.
//
// Note [Which library multiplies]
// LibTorch has two for float32 on CPUs: MKL, which it calls itself, and oneDNN. On some of AMD's processors
// oneDNN is up to twice as fast. On Intel's the two are level in forward, but MKL is faster in backward: a
// layer's forward and backward together by 2 to 16 % (docs/performance.md). So forward goes to oneDNN,
// and backward to Settings::backward, by the processor's maker. It is not measured at start which is faster:
// the two round differently, and one command must give the same bits each time, and a run that was
// interrupted those that it would have had. In bfloat16 oneDNN sums in float32 and rounds the result; weights
// are converted in forward and kept for backward, which costs as much as reading them once a micro-batch.
//
// Note [Gradients of weights]
// A gradient that is first written, then added to the buffer of all gradients, costs three more passes over
// memory of the weight's size: next to nothing where x has many rows, some per cent of a step of wide layers
// and few utterances. With Settings::accumulate, and where x has no more rows than the weight's longer side,
// the library adds the product to that buffer as it computes it. (With more rows both libraries are a little
// faster without.)
torch::Tensor Linear(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias);

// The same with a layer's weight and bias.
inline torch::Tensor Linear(const torch::Tensor& x, const torch::nn::Linear& layer) {
  return Linear(x, layer->weight, layer->bias);
}

}  // namespace trainer::kernels
