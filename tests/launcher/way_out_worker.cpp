// A rank in trouble, for way_out_test.cpp. Argument: what happens to the last rank.

#include <mpi.h>
#include <torch/types.h>

#include <cstdio>
#include <stdexcept>
#include <string>

#include "launcher/communicator.h"
#include "launcher/control.h"
#include "launcher/mpi_session.h"

namespace {

int Run(const launcher::World& world, const std::string& trouble) {
  const bool troubled = world.rank == world.size - 1;
  const auto communicator = launcher::MakeCommunicator(world, torch::kCPU);
  torch::Tensor gradient = torch::ones({1'000'000});
  communicator->StartAllReduce(gradient.narrow(0, 0, 500'000));
  communicator->WaitAll();
  if (troubled) {
    if (trouble == "throws") throw std::runtime_error("a bug");
    if (trouble == "throws-amid-sums") {
      // Its peers never start this one: nothing may wait for it.
      communicator->StartAllReduce(gradient.narrow(0, 500'000, 500'000));
      throw std::runtime_error("a bug amid sums");
    }
    if (trouble == "is-silent") launcher::AbortWorld("", 75);
  }
  if (trouble == "none") {
    launcher::Barrier();
    return 0;
  }
  if (trouble == "throws-amid-sums") {
    launcher::Barrier();  // which the troubled rank never reaches
  } else {
    communicator->StartAllReduce(gradient);
    communicator->WaitAll();
  }
  std::fprintf(stderr, "rank %d went on without its peer\n", world.rank);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  launcher::MpiSession session(&argc, &argv);
  const std::string trouble = argc > 1 ? argv[1] : "none";
  try {
    return Run(launcher::World::FromMpi(), trouble);
  } catch (const std::exception& error) {
    launcher::AbortWorld(error.what(), 9);
  }
}
