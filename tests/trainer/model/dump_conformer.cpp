// dump_conformer SEED INPUT OUTPUT [model.key=value ...]: what conformer_parity.py compares with the Python
// package.
//
// INPUT (safetensors): x (B, T, dim) and, optionally, w.<name> for every parameter and buffer: used in place
// of the seed's initial values. OUTPUT: w.<name> the values before anything is computed, in the model's
// order; y_eval, y_train (B, T, dim); for the loss mean(y_train^2) grad_x and g.<name>; after_train.<name>
// the buffers after that step.
#include <torch/torch.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "tests/trainer/model/or_die.h"
#include "trainer/checkpoint/safetensors.h"
#include "trainer/config/config.h"
#include "trainer/model/factory.h"

using trainer::OrDie;

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: dump_conformer SEED INPUT OUTPUT [model.key=value ...]\n");
    return 2;
  }
  const auto config = OrDie(trainer::config::ParseConfig("{}", "dump_conformer.yaml",
                                                         std::vector<std::string>(argv + 4, argv + argc)));
  torch::manual_seed(static_cast<uint64_t>(std::atoll(argv[1])));
  trainer::model::Conformer conformer(trainer::model::MakeConformerOptions(config.model));

  torch::OrderedDict<std::string, torch::Tensor> state;
  for (const auto& item : conformer.named_parameters()) state.insert(item.key(), item.value());
  for (const auto& item : conformer.named_buffers()) state.insert(item.key(), item.value());

  const auto input = OrDie(trainer::checkpoint::ReadSafetensors(argv[2]));
  torch::Tensor x;
  for (const auto& [name, tensor] : input.tensors) {
    if (name == "x") x = tensor;
    if (name.rfind("w.", 0) != 0) continue;
    torch::NoGradGuard no_grad;
    auto* target = state.find(name.substr(2));
    if (target == nullptr || target->sizes() != tensor.sizes()) {
      std::fprintf(stderr, "dump_conformer: %s does not fit\n", name.c_str());
      return 2;
    }
    target->copy_(tensor);
  }
  x.set_requires_grad(true);

  trainer::checkpoint::NamedTensors output;
  for (const auto& item : state) output.emplace_back("w." + item.key(), item.value().detach().clone());
  conformer.eval();
  {
    torch::NoGradGuard no_grad;
    output.emplace_back("y_eval", conformer.Forward(x, {}).back());
  }
  conformer.train();
  const auto y = conformer.Forward(x, {}).back();
  y.square().mean().backward();
  output.emplace_back("y_train", y.detach());
  output.emplace_back("grad_x", x.grad());
  for (const auto& item : conformer.named_parameters())
    output.emplace_back("g." + item.key(), item.value().grad());
  for (const auto& item : conformer.named_buffers())
    output.emplace_back("after_train." + item.key(), item.value());
  const auto status = trainer::checkpoint::WriteSafetensors(argv[3], output);
  if (!status.ok()) std::fprintf(stderr, "dump_conformer: %s\n", std::string(status.message()).c_str());
  return status.ok() ? 0 : 1;
}
