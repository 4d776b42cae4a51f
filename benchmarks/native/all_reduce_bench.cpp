// Sums over all ranks alone, by message size: `mpirun -n R all_reduce_bench auto|cpu|cuda SECONDS BYTES...`.
// For each size ours (Communicator) and, on CPUs, MPI_Allreduce take turns; rank 0 prints one line of JSON a
// size, with the mean time of a call as osu_allreduce and nccl-tests have it: a timed loop after a warm-up,
// averaged over the ranks.
#include <mpi.h>
#include <torch/torch.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>

#include "launcher/communicator.h"
#include "launcher/device.h"
#include "launcher/error.h"
#include "launcher/mpi_session.h"

namespace {

constexpr int kTurns = 5, kWarmUpCalls = 5;
constexpr char kHint[] = "all ranks must be given the same arguments";

void Synchronise(torch::Device device) {
  if (device.is_cuda()) torch::cuda::synchronize(device.index());
}

// Mean over the ranks.
double Mean(double value, const launcher::World& world) {
  double sum = 0;
  LAUNCHER_MPI(MPI_Allreduce(&value, &sum, 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD), kHint);
  return sum / world.size;
}

// Seconds a call.
double Time(int64_t calls, torch::Device device, const launcher::World& world,
            const std::function<void()>& call) {
  LAUNCHER_MPI(MPI_Barrier(MPI_COMM_WORLD), kHint);
  const auto start = std::chrono::steady_clock::now();
  for (int64_t i = 0; i < calls; ++i) call();
  Synchronise(device);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  return Mean(took.count() / static_cast<double>(calls), world);
}

// The best of the turns, seconds a call: what a busy machine disturbs least.
struct Best {
  double ours = INFINITY, mpi = INFINITY;
};

Best Measure(int64_t bytes, double seconds, torch::Device device, const launcher::World& world,
             launcher::Communicator& communicator) {
  auto slice = communicator.MakeBuffer(bytes / 4, device);  // as gradients have it
  const std::function<void()> ours = [&] {
    communicator.StartAllReduce(slice);
    communicator.WaitAll();
  };
  std::function<void()> mpi;
  if (device.is_cpu()) {
    mpi = [&] {
      LAUNCHER_MPI(MPI_Allreduce(MPI_IN_PLACE, slice.data_ptr<float>(), static_cast<int>(bytes / 4),
                                 MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD),
                   kHint);
    };
  }
  const double once = Time(kWarmUpCalls, device, world, ours);
  if (mpi) Time(kWarmUpCalls, device, world, mpi);
  const double each = seconds / (mpi ? 2 : 1) / kTurns;
  const auto calls = static_cast<int64_t>(std::clamp(each / once, 1.0, 1e6));
  Best best;
  for (int turn = 0; turn < kTurns; ++turn) {
    best.ours = std::min(best.ours, Time(calls, device, world, ours));
    if (mpi) best.mpi = std::min(best.mpi, Time(calls, device, world, mpi));
  }
  return best;
}

int Run(int argc, char** argv, const launcher::World& world) {
  const auto device = launcher::BindDevice(world, {argv[1], 1});
  if (!device.ok()) {
    if (world.rank == 0) std::fprintf(stderr, "%s\n", std::string(device.status().message()).c_str());
    return 2;
  }
  const auto communicator = launcher::MakeCommunicator(world, *device);
  for (int i = 3; i < argc; ++i) {
    const int64_t bytes = std::atoll(argv[i]);
    const Best best = Measure(bytes, std::atof(argv[2]), *device, world, *communicator);
    if (world.rank != 0) continue;
    std::printf("{\"bytes\": %lld, \"ranks\": %d, \"by\": \"%s\", \"ours_seconds\": %.6g",
                static_cast<long long>(bytes), world.size, communicator->name(), best.ours);
    if (std::isfinite(best.mpi)) std::printf(", \"mpi_seconds\": %.6g", best.mpi);
    std::printf("}\n");
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: mpirun -n R all_reduce_bench auto|cpu|cuda SECONDS BYTES...\n");
    return 2;
  }
  launcher::MpiSession session(&argc, &argv);
  try {
    return Run(argc, argv, launcher::World::FromMpi());
  } catch (const std::exception& error) {
    launcher::AbortWorld(error.what(), 1);
  }
}
