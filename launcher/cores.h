#pragma once

// Which cores of its host are a rank's: binding where nobody else has bound, and words for the log.

#include <string>
#include <vector>

#include "launcher/mpi_session.h"

namespace launcher {

// Who has narrowed down a rank's cores.
enum class Binder {
  kNobody,  // it may run wherever the host lets it
  kOthers,  // mpirun, SLURM, taskset: before this program began
  kThis,    // BindCores()
};

struct RankCores {
  std::string host;
  std::vector<int> cpus;   // that it may run on, ascending
  std::vector<int> nodes;  // the NUMA nodes of these, ascending
  Binder binder = Binder::kNobody;
  int share = 1;  // of the CPUs, as CoreShare() (launcher/device.h)
};

// Collective, once, by the main thread: threads that it starts from here on inherit what it does. Binds the
// calling thread to a part of its host's CPUs of its own, without breaking up cores, where `bind`, the host
// has several NUMA nodes, all of its ranks may use the same CPUs (nothing has bound them) and there are at
// least two ranks and a CPU for each. `gpu_node`: the NUMA node of the rank's GPU; where those of all ranks
// of a host are known, each gets cores there; otherwise (-1) the cores are dealt out in the order of nodes.
// Returns what all ranks have then, in the order of ranks.
std::vector<RankCores> BindCores(const World& world, bool bind, int gpu_node);

// One line for all ranks, such as "each rank on 16 cores of its own, bound by NUMA node".
std::string SummariseCores(const std::vector<RankCores>& ranks);

// "rank 3 on node7: cores 48-63, NUMA node 1, 16 threads"
std::string DescribeCores(int rank, const RankCores& cores, int threads);

// A warning where mpirun has bound this host's ranks to fewer cores together than the host has for them,
// which it does to one or two ranks unless told otherwise; empty where all is well. Not collective.
std::string WarnOfNarrowBinding(const World& world, const std::vector<RankCores>& ranks);

// NUMA node of a PCI device ("0000:65:00.0"), -1 where the system does not say.
int NumaNodeOfPci(const std::string& bus_id);

namespace internal {

// A CPU as the system describes it.
struct Cpu {
  int number = 0;
  int node = 0;  // NUMA node; 0 where there are none
  int core = 0;  // lowest CPU of those that share its core
  bool operator==(const Cpu&) const = default;
};

// "0-3,8" as numbers, ascending; nothing for what is no such list.
std::vector<int> ParseCpuList(const std::string& text);
// And back.
std::string FormatCpuList(const std::vector<int>& cpus);

// Describes `cpus` by the files under `root` ("/sys/devices/system").
std::vector<Cpu> DescribeCpus(const std::vector<int>& cpus, const std::string& root);

// Deals `cpus` out to a host's ranks, whose number is that of `wanted_nodes`: ascending CPUs for each, all
// disjoint, no core broken up where there are as many cores as ranks. Every rank gets some, or the result is
// empty: there are too few.
std::vector<std::vector<int>> DealCpus(std::vector<Cpu> cpus, const std::vector<int>& wanted_nodes);

}  // namespace internal
}  // namespace launcher
