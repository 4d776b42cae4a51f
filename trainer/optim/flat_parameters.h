// All parameters of a model as views into one buffer, all gradients as views into a second.
//
// Note [Flat parameters]
// The buffers are laid out in reverse order of registration, which is the order in which backward finishes
// the gradients of a feed-forward stack. So a bucket is a slice, an all-reduce needs no copy, zeroing is one
// fill, the norm one reduction, AdamW one fused call. Autograd accumulates in place into a gradient that is
// already defined, so the views stay views. Each parameter starts on a 64-byte boundary; the gaps hold zeros
// for ever (gradient 0, value 0).
#pragma once

#include <torch/torch.h>

#include <functional>
#include <string>
#include <vector>

namespace trainer::optim {

class FlatParameters {
 public:
  struct Slot {
    std::string name;         // as in the state_dict
    torch::Tensor parameter;  // a view into values()
    int64_t offset;           // in elements
    int64_t size;             // in elements
  };

  // Re-seats every parameter of `model` (on its final device, float32) as a view into a new buffer and gives
  // each a gradient view. `tail_size` further elements stand behind the last gradient, for figures that are
  // to be summed over the ranks together with the gradients. `make_gradients` makes the buffer of both, (P +
  // tail) zeros; torch::zeros where there is none.
  using MakeBuffer = std::function<torch::Tensor(int64_t count, torch::Device device)>;
  FlatParameters(torch::nn::Module& model, int64_t tail_size, const MakeBuffer& make_gradients = {});

  // In buffer order: the order in which backward is expected to finish.
  const std::vector<Slot>& slots() const { return slots_; }
  const torch::Tensor& values() const { return values_; }                     // (P)
  const torch::Tensor& gradients() const { return gradients_; }               // (P), without the tail
  const torch::Tensor& gradients_and_tail() const { return all_gradients_; }  // (P + tail)
  const torch::Tensor& tail() const { return tail_; }                         // (tail)

  // The view of `buffer` (P), a buffer of this layout such as a moment of AdamW, that belongs to `slot`.
  torch::Tensor View(const torch::Tensor& buffer, const Slot& slot) const;

  // XXH3 of the bytes of values(). Synchronises with the device.
  uint64_t Hash() const;

 private:
  std::vector<Slot> slots_;
  torch::Tensor values_, all_gradients_, gradients_, tail_;
};

}  // namespace trainer::optim
