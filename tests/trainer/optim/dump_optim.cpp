// What parity.py compares with torch.optim and LambdaLR.
//
//   dump_optim schedule LR WARMUP TOTAL CYCLES STEPS...      prints the learning rate of each step, exactly
//   dump_optim adamw CLIP INPUT OUTPUT LR...                 one update a given LR with the gradients
//   g.<update>.<name>
#include <torch/torch.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>

#include "trainer/checkpoint/safetensors.h"
#include "trainer/optim/adamw.h"
#include "trainer/optim/schedule.h"

using trainer::optim::AdamW;
using trainer::optim::FlatParameters;

namespace {

int Schedule(int argc, char** argv) {
  const trainer::optim::Schedule schedule{std::atof(argv[2]), std::atoll(argv[3]), std::atoll(argv[4]),
                                          std::atof(argv[5])};
  for (int i = 6; i < argc; ++i) std::printf("%.17g\n", schedule.LearningRate(std::atoll(argv[i])));
  return 0;
}

// Parameters p.<name> and gradients g.<update>.<name> come from the file.
int Adam(int argc, char** argv) {
  const auto input = trainer::checkpoint::ReadSafetensors(argv[3]);
  if (!input.ok()) return 2;
  torch::nn::Module module;
  std::map<std::string, torch::Tensor> gradients;
  for (const auto& [name, tensor] : input->tensors) {
    if (name.starts_with("p.")) module.register_parameter(name.substr(2), tensor.clone());
    if (name.starts_with("g.")) gradients[name] = tensor;
  }
  FlatParameters parameters(module, 4);
  AdamW optimizer(parameters, {.clip_norm = std::atof(argv[2])});
  trainer::checkpoint::NamedTensors output;
  for (int update = 0; update < argc - 5; ++update) {
    torch::NoGradGuard no_grad;
    for (const auto& slot : parameters.slots()) {
      slot.parameter.grad().copy_(gradients.at("g." + std::to_string(update) + "." + slot.name));
    }
    output.emplace_back("norm." + std::to_string(update),
                        optimizer.Step(std::atof(argv[5 + update])).gradient);
  }
  for (const auto& slot : parameters.slots()) output.emplace_back("p." + slot.name, slot.parameter.detach());
  return trainer::checkpoint::WriteSafetensors(argv[4], output).ok() ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 6 && std::strcmp(argv[1], "schedule") == 0) return Schedule(argc, argv);
  if (argc > 5 && std::strcmp(argv[1], "adamw") == 0) return Adam(argc, argv);
  return 2;
}
