// dump_model SEED N_MELS N_SPEAKERS INPUT OUTPUT [model.key=value ...]: what parity.py compares with Python
// torch.
//
// INPUT (safetensors): mels (B, T, n_mels), speakers (B) and, where utterances are padded, lengths (B).
// OUTPUT: w.<name> initial parameters, logits (B, n_speakers) in evaluation mode, g.<name> gradients of the
// mean cross entropy in training mode (run it with model.dropout=0).
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
  if (argc < 6) {
    std::fprintf(stderr, "usage: dump_model SEED N_MELS N_SPEAKERS INPUT OUTPUT [model.key=value ...]\n");
    return 2;
  }
  const auto config = OrDie(
      trainer::config::ParseConfig("{}", "dump_model.yaml", std::vector<std::string>(argv + 6, argv + argc)));
  torch::manual_seed(static_cast<uint64_t>(std::atoll(argv[1])));
  const auto model = trainer::model::MakeModel(config, std::atoll(argv[2]), std::atoll(argv[3]));

  const auto input = OrDie(trainer::checkpoint::ReadSafetensors(argv[4]));
  torch::Tensor mels, speakers, lengths;
  for (const auto& [name, tensor] : input.tensors) {
    if (name == "mels") mels = tensor;
    if (name == "speakers") speakers = tensor;
    if (name == "lengths") lengths = tensor;
  }

  trainer::checkpoint::NamedTensors output;
  for (const auto& item : model->named_parameters())
    output.emplace_back("w." + item.key(), item.value().detach().clone());
  model->eval();
  {
    torch::NoGradGuard no_grad;
    output.emplace_back("logits", model->Forward(mels, lengths));
  }
  model->train();
  torch::nn::functional::cross_entropy(model->Forward(mels, lengths), speakers).backward();
  for (const auto& item : model->named_parameters())
    output.emplace_back("g." + item.key(), item.value().grad());
  const auto status = trainer::checkpoint::WriteSafetensors(argv[5], output);
  if (!status.ok()) std::fprintf(stderr, "dump_model: %s\n", std::string(status.message()).c_str());
  return status.ok() ? 0 : 1;
}
