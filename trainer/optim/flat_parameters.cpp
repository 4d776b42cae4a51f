#include "trainer/optim/flat_parameters.h"

#include <xxhash.h>

#include <algorithm>

namespace trainer::optim {
namespace {
constexpr int64_t kAlignment = 16;  // float32 elements: 64 bytes
}

FlatParameters::FlatParameters(torch::nn::Module& model, int64_t tail_size,
                               const MakeBuffer& make_gradients) {
  torch::NoGradGuard no_grad;
  const auto named = model.named_parameters();
  int64_t size = 0;
  for (size_t i = named.size(); i-- > 0;) {
    const auto& [name, parameter] = named[i].pair();
    TORCH_CHECK(parameter.scalar_type() == torch::kFloat32, "parameter ", name, " is not float32");
    slots_.push_back({name, parameter, size, parameter.numel()});
    size += (parameter.numel() + kAlignment - 1) / kAlignment * kAlignment;
  }
  TORCH_CHECK(!slots_.empty(), "the model has no parameters");
  const auto options = torch::TensorOptions().dtype(torch::kFloat32).device(slots_[0].parameter.device());
  values_ = torch::zeros({size}, options);
  all_gradients_ = make_gradients ? make_gradients(size + tail_size, values_.device())
                                  : torch::zeros({size + tail_size}, options);
  gradients_ = all_gradients_.narrow(0, 0, size);
  tail_ = all_gradients_.narrow(0, size, tail_size);
  for (auto& slot : slots_) {
    auto view = View(values_, slot);
    view.copy_(slot.parameter);
    slot.parameter.set_data(view);
    slot.parameter.mutable_grad() = View(gradients_, slot);
  }
}

torch::Tensor FlatParameters::View(const torch::Tensor& buffer, const Slot& slot) const {
  return buffer.narrow(0, slot.offset, slot.size).view(slot.parameter.sizes());
}

uint64_t FlatParameters::Hash() const {
  const auto host = values_.to(torch::kCPU).contiguous();
  return XXH3_64bits(host.const_data_ptr(), static_cast<size_t>(host.nbytes()));
}

}  // namespace trainer::optim
