#include "launcher/cores.h"

#include <sched.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <fstream>
#include <map>
#include <set>
#include <thread>
#include <tuple>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "launcher/control.h"
#include "launcher/core_share.h"
#include "launcher/device.h"

namespace launcher {
namespace {

constexpr char kSystem[] = "/sys/devices/system";
constexpr int kMaxCpus = 16384;

std::string ReadLine(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// False where the system does not let it.
bool BindThread(const std::vector<int>& cpus) {
  cpu_set_t* mask = CPU_ALLOC(kMaxCpus);
  if (mask == nullptr) return false;
  const size_t bytes = CPU_ALLOC_SIZE(kMaxCpus);
  CPU_ZERO_S(bytes, mask);
  for (const int cpu : cpus) CPU_SET_S(static_cast<size_t>(cpu), bytes, mask);
  const bool bound = sched_setaffinity(0, bytes, mask) == 0;
  CPU_FREE(mask);
  return bound;
}

// All CPUs that this process might bind itself to: what the control group allows.
std::vector<int> WidestCpus() {
  std::vector<int> widest = internal::AffinityCpus();
  std::vector<int> all(kMaxCpus);
  for (int cpu = 0; cpu < kMaxCpus; ++cpu) all[static_cast<size_t>(cpu)] = cpu;
  // The kernel takes what is allowed of them; on a thread of its own, for it is only a question.
  std::thread([&] {
    if (BindThread(all)) widest = internal::AffinityCpus();
  }).join();
  return widest;
}

std::vector<int> NodesOf(const std::vector<int>& cpus) {
  std::set<int> nodes;
  for (const auto& cpu : internal::DescribeCpus(cpus, kSystem)) nodes.insert(cpu.node);
  return {nodes.begin(), nodes.end()};
}

// What the ranks tell each other.
std::string Encode(const std::string& host, const std::vector<int>& cpus, int number) {
  return absl::StrCat(host, "\n", internal::EncodeCpus(cpus), "\n", number);
}

struct Told {
  std::string host;
  std::vector<int> cpus;
  int number = 0;
};

std::vector<Told> Exchange(const std::string& host, const std::vector<int>& cpus, int number) {
  std::vector<Told> ranks;
  for (const auto& text : AllGatherStrings(Encode(host, cpus, number))) {
    const std::vector<std::string> lines = absl::StrSplit(text, '\n');
    Told told;
    told.host = lines.at(0);
    told.cpus = internal::DecodeCpus(lines.at(1));
    static_cast<void>(absl::SimpleAtoi(lines.at(2), &told.number));
    ranks.push_back(std::move(told));
  }
  return ranks;
}

std::string Cores(size_t count) { return absl::StrCat(count, count == 1 ? " core" : " cores"); }

}  // namespace

namespace internal {

std::vector<int> ParseCpuList(const std::string& text) {
  std::vector<int> cpus;
  for (const absl::string_view piece :
       absl::StrSplit(absl::StripAsciiWhitespace(text), ',', absl::SkipEmpty())) {
    const std::pair<std::string, std::string> ends = absl::StrSplit(piece, absl::MaxSplits('-', 1));
    int first = 0;
    int last = 0;
    if (!absl::SimpleAtoi(ends.first, &first)) return {};
    if (!absl::SimpleAtoi(ends.second.empty() ? ends.first : ends.second, &last)) return {};
    for (int cpu = first; cpu <= std::min(last, kMaxCpus - 1); ++cpu) cpus.push_back(cpu);
  }
  std::sort(cpus.begin(), cpus.end());
  return cpus;
}

std::string FormatCpuList(const std::vector<int>& cpus) {
  std::string text;
  for (size_t i = 0; i < cpus.size();) {
    size_t end = i + 1;
    while (end < cpus.size() && cpus[end] == cpus[end - 1] + 1) ++end;
    absl::StrAppend(&text, text.empty() ? "" : ",", cpus[i]);
    if (end > i + 1) absl::StrAppend(&text, "-", cpus[end - 1]);
    i = end;
  }
  return text;
}

std::vector<Cpu> DescribeCpus(const std::vector<int>& cpus, const std::string& root) {
  std::map<int, int> node_of;
  for (const int node : ParseCpuList(ReadLine(root + "/node/online"))) {
    for (const int cpu : ParseCpuList(ReadLine(absl::StrCat(root, "/node/node", node, "/cpulist")))) {
      node_of[cpu] = node;
    }
  }
  std::vector<Cpu> described;
  for (const int number : cpus) {
    Cpu cpu{number, 0, number};
    if (const auto node = node_of.find(number); node != node_of.end()) cpu.node = node->second;
    const auto siblings =
        ParseCpuList(ReadLine(absl::StrCat(root, "/cpu/cpu", number, "/topology/thread_siblings_list")));
    if (!siblings.empty()) cpu.core = siblings.front();
    described.push_back(cpu);
  }
  return described;
}

std::vector<std::vector<int>> DealCpus(std::vector<Cpu> cpus, const std::vector<int>& wanted_nodes) {
  const size_t ranks = wanted_nodes.size();
  std::sort(cpus.begin(), cpus.end(), [](const Cpu& a, const Cpu& b) {
    return std::tuple(a.node, a.core, a.number) < std::tuple(b.node, b.core, b.number);
  });
  // Cuts what `takers` share into pieces of whole cores, as equal as can be.
  std::vector<std::vector<int>> dealt(ranks);
  const auto deal = [&](const std::vector<Cpu>& from, const std::vector<size_t>& takers) {
    std::vector<std::vector<int>> cores;  // the CPUs of each
    for (size_t i = 0; i < from.size(); ++i) {
      const bool same =
          i > 0 && std::tuple(from[i - 1].node, from[i - 1].core) == std::tuple(from[i].node, from[i].core);
      if (!same) cores.emplace_back();
      cores.back().push_back(from[i].number);
    }
    if (cores.size() < takers.size()) {  // then cores must be broken up
      cores.clear();
      for (const Cpu& cpu : from) cores.push_back({cpu.number});
    }
    for (size_t i = 0; i < takers.size(); ++i) {
      auto& mine = dealt[takers[i]];
      for (size_t core = cores.size() * i / takers.size(); core < cores.size() * (i + 1) / takers.size();
           ++core) {
        mine.insert(mine.end(), cores[core].begin(), cores[core].end());
      }
      std::sort(mine.begin(), mine.end());
    }
  };

  std::map<int, std::vector<size_t>> takers_of;  // each node's
  for (size_t rank = 0; rank < ranks; ++rank) takers_of[wanted_nodes[rank]].push_back(rank);
  std::map<int, std::vector<Cpu>> cpus_of;
  for (const Cpu& cpu : cpus) cpus_of[cpu.node].push_back(cpu);
  const bool all_known = std::all_of(takers_of.begin(), takers_of.end(), [&](const auto& taken) {
    const auto there = cpus_of.find(taken.first);
    return there != cpus_of.end() && there->second.size() >= taken.second.size();
  });
  if (all_known) {
    for (const auto& [node, takers] : takers_of) deal(cpus_of[node], takers);
  } else {
    std::vector<size_t> all(ranks);
    for (size_t rank = 0; rank < ranks; ++rank) all[rank] = rank;
    deal(cpus, all);
  }
  const bool each = std::all_of(dealt.begin(), dealt.end(), [](const auto& mine) { return !mine.empty(); });
  return each ? dealt : std::vector<std::vector<int>>();
}

}  // namespace internal

std::vector<RankCores> BindCores(const World& world, bool bind, int gpu_node) {
  const std::vector<int> before = internal::AffinityCpus();
  const std::vector<int> widest = WidestCpus();
  bool bound_here = false;
  const auto told = Exchange(world.host, before, gpu_node);
  std::vector<int> wanted;
  size_t mine = 0;
  bool same = true;
  for (size_t rank = 0; rank < told.size(); ++rank) {
    if (told[rank].host != world.host) continue;
    if (static_cast<int>(rank) == world.rank) mine = wanted.size();
    wanted.push_back(told[rank].number);
    same = same && told[rank].cpus == before;
  }
  if (bind && same && wanted.size() > 1 && NodesOf(before).size() > 1) {
    const auto dealt = internal::DealCpus(internal::DescribeCpus(before, kSystem), wanted);
    bound_here = !dealt.empty() && BindThread(dealt[mine]);
  }
  const auto binder = bound_here                      ? Binder::kThis
                      : before.size() < widest.size() ? Binder::kOthers
                                                      : Binder::kNobody;

  std::vector<RankCores> ranks;
  for (auto& rank : Exchange(world.host, internal::AffinityCpus(), static_cast<int>(binder))) {
    RankCores cores;
    cores.host = std::move(rank.host);
    cores.cpus = std::move(rank.cpus);
    cores.binder = static_cast<Binder>(rank.number);
    ranks.push_back(std::move(cores));
  }
  // What only the rank itself can tell of its host.
  const auto shares = Exchange(world.host, NodesOf(internal::AffinityCpus()), CoreShare(world));
  for (size_t rank = 0; rank < ranks.size(); ++rank) {
    ranks[rank].nodes = shares[rank].cpus;
    ranks[rank].share = shares[rank].number;
  }
  return ranks;
}

std::string SummariseCores(const std::vector<RankCores>& ranks) {
  const auto& first = ranks.front();
  const auto alike = [&](const RankCores& rank) {
    return rank.cpus.size() == first.cpus.size() && rank.binder == first.binder;
  };
  const std::string each = ranks.size() == 1 ? "" : "each rank ";
  if (!std::all_of(ranks.begin(), ranks.end(), alike)) {
    const auto [least, most] =
        std::minmax_element(ranks.begin(), ranks.end(),
                            [](const auto& a, const auto& b) { return a.cpus.size() < b.cpus.size(); });
    return absl::StrCat("ranks on ", least->cpus.size(), " to ", Cores(most->cpus.size()),
                        " (--verbose lists them)");
  }
  switch (first.binder) {
    case Binder::kNobody:
      return absl::StrCat(each, "on any of ", Cores(first.cpus.size()), ", bound to none");
    case Binder::kOthers:
      return absl::StrCat(each, "bound to ", Cores(first.cpus.size()), " by what started it");
    case Binder::kThis:
      break;
  }
  return absl::StrCat(each, "bound to ", Cores(first.cpus.size()), " of its own, by NUMA node");
}

std::string DescribeCores(int rank, const RankCores& cores, int threads) {
  return absl::StrCat("rank ", rank, " on ", cores.host, ": cores ", internal::FormatCpuList(cores.cpus),
                      cores.nodes.size() == 1 ? ", NUMA node " : ", NUMA nodes ",
                      internal::FormatCpuList(cores.nodes), ", ", threads,
                      threads == 1 ? " thread" : " threads");
}

std::string WarnOfNarrowBinding(const World& world, const std::vector<RankCores>& ranks) {
  const auto& mine = ranks[static_cast<size_t>(world.rank)];
  if (mine.binder != Binder::kOthers || std::getenv("OMPI_COMM_WORLD_RANK") == nullptr) return "";
  std::set<int> used;
  int count = 0;
  for (const auto& rank : ranks) {
    if (rank.host != world.host) continue;
    used.insert(rank.cpus.begin(), rank.cpus.end());
    ++count;
  }
  auto there = static_cast<double>(WidestCpus().size());
  if (const double limit = CgroupCpuLimit(); limit > 0) there = std::min(there, limit);
  // The part of the host that SLURM has given to the job, where it does not enforce that.
  int given = 0;
  const char* of_slurm = std::getenv("SLURM_CPUS_ON_NODE");
  if (of_slurm != nullptr && absl::SimpleAtoi(of_slurm, &given) && given > 0)
    there = std::min<double>(there, given);
  if (static_cast<double>(used.size()) >= there) return "";
  return absl::StrCat(world.host, ": mpirun has bound ",
                      count == 1 ? "the rank" : absl::StrCat("the ", count, " ranks"), " to ", used.size(),
                      " of ", Cores(static_cast<size_t>(there)),
                      "; start it with --bind-to none (before the program) to use them all");
}

int NumaNodeOfPci(const std::string& bus_id) {
  int node = -1;
  const std::string path = absl::StrCat("/sys/bus/pci/devices/", absl::AsciiStrToLower(bus_id), "/numa_node");
  return absl::SimpleAtoi(ReadLine(path), &node) ? node : -1;
}

}  // namespace launcher
