#include "trainer/preflight/hosts.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "launcher/device.h"
#include "trainer/preflight/memory.h"
#include "trainer/preflight/ranks.h"

namespace trainer::preflight {
namespace {

// CPUs that a process may run on; 0 where the system does not say. (Beyond 4096 of them it does not.)
int AllowedCpus(pid_t process) {
  constexpr int kMost = 4096;
  cpu_set_t* mask = CPU_ALLOC(kMost);
  if (mask == nullptr) return 0;
  const size_t bytes = CPU_ALLOC_SIZE(kMost);
  const int count = sched_getaffinity(process, bytes, mask) == 0 ? CPU_COUNT_S(bytes, mask) : 0;
  CPU_FREE(mask);
  return count;
}

// CPUs that this host's ranks could have: the host's, within the control group's limits. Where mpirun has
// started this rank, those that mpirun itself was given.
double UsableCpus() {
  auto cpus = static_cast<double>(sysconf(_SC_NPROCESSORS_ONLN));
  if (std::getenv("OMPI_COMM_WORLD_RANK") != nullptr) {
    if (const int starter = AllowedCpus(getppid()); starter > 0) cpus = std::min<double>(cpus, starter);
  }
  const double limit = launcher::CgroupCpuLimit();
  return limit > 0 ? std::min(cpus, limit) : cpus;
}

nlohmann::json OwnFacts(const launcher::World& world, const std::optional<torch::Device>& device) {
  nlohmann::json facts = {
      {"host", world.host},
      {"cores", launcher::CoreShare(world)},
      {"allowed_cpus", AllowedCpus(0)},
      {"usable_cpus", UsableCpus()},
      {"threads", at::get_num_threads()},
      {"available_memory_bytes", AvailableMemory()},
      {"started_by_mpirun", std::getenv("OMPI_COMM_WORLD_RANK") != nullptr},
  };
  if (!device) return facts;
  facts["device"] = device->str();
  if (!device->is_cuda()) return facts;
  const auto gpu = launcher::DescribeGpu(*device);
  const auto memory = launcher::QueryDeviceMemory(*device);
  facts["gpu"] = gpu.name;
  facts["gpu_pci_bus_id"] = gpu.pci_bus_id;
  facts["gpu_free_bytes"] = memory.free_bytes;
  facts["gpu_total_bytes"] = memory.total_bytes;
  return facts;
}

void DescribeHost(const std::string& host, const std::vector<int64_t>& members,
                  const std::vector<nlohmann::json>& ranks, const std::vector<std::string>& hosts,
                  Report& report) {
  const auto& first = ranks[static_cast<size_t>(members[0])];
  const double usable = first.value("usable_cpus", 1.0);
  const double memory =
      first["available_memory_bytes"].is_number() ? first["available_memory_bytes"].get<double>() : 0;
  int64_t threads = 0, cores = 0;
  int most_allowed = 0;
  std::vector<std::string> gpus;
  for (const auto member : members) {
    const auto& rank = ranks[static_cast<size_t>(member)];
    threads += rank.value("threads", int64_t{1});
    cores += rank.value("cores", int64_t{1});
    most_allowed = std::max(most_allowed, rank.value("allowed_cpus", 0));
    if (rank.contains("gpu")) {
      gpus.push_back(absl::StrCat("rank ", member, ": ", rank["device"].get<std::string>(), " ",
                                  rank["gpu"].get<std::string>(), " ",
                                  rank["gpu_pci_bus_id"].get<std::string>()));
      const double free = rank["gpu_free_bytes"].get<double>(), total = rank["gpu_total_bytes"].get<double>();
      if (free < 0.8 * total) {
        report.Warn(absl::StrCat("the GPU of ", NameRanks({member}, hosts), " has only ", FormatBytes(free),
                                 " of ", FormatBytes(total), " free"),
                    "end what else is running there (nvidia-smi)");
      }
    }
  }
  report.Ok(absl::StrCat(NameRanks(members, hosts), ": ", usable, " CPUs, ", threads, " threads in all, ",
                         FormatBytes(memory), " of memory free", gpus.empty() ? "" : "; ",
                         absl::StrJoin(gpus, ", ")));
  const auto count = static_cast<int64_t>(members.size());
  // Each rank's threads sit on CPUs of their own only where there are enough of them.
  if (static_cast<double>(threads) > usable) {
    report.Warn(absl::StrCat(threads, " threads of ", count, " ranks share the ", usable, " CPUs of ", host),
                "start fewer ranks there, or lower train.threads");
  } else if (first.value("started_by_mpirun", false) && 2 * cores <= usable &&
             most_allowed * count < usable) {
    report.Warn(absl::StrCat(NameRanks(members, hosts), " may use only ", cores, " of its ", usable, " CPUs"),
                "start them with mpirun --bind-to none");
  }
}

void Describe(const std::vector<nlohmann::json>& ranks, Report& report) {
  const auto hosts = TextOf(ranks, "host");
  auto& figures = report.figures("ranks");
  figures = nlohmann::ordered_json::array();
  for (size_t rank = 0; rank < ranks.size(); ++rank) {
    nlohmann::ordered_json row = {{"rank", rank}};
    for (const char* key : {"host", "device", "gpu", "gpu_pci_bus_id", "gpu_free_bytes", "gpu_total_bytes",
                            "threads", "cores", "available_memory_bytes"}) {
      if (ranks[rank].contains(key)) row[key] = ranks[rank][key];
    }
    figures.push_back(std::move(row));
  }
  auto groups = GroupByValue(hosts);
  std::stable_sort(groups.begin(), groups.end(),
                   [](const Group& a, const Group& b) { return a.ranks[0] < b.ranks[0]; });
  for (const auto& group : groups) DescribeHost(group.value, group.ranks, ranks, hosts, report);
  if (const auto kinds = GroupByValue(TextOf(ranks, "gpu")); kinds.size() > 1) {
    std::vector<std::string> texts;
    for (const auto& kind : kinds)
      texts.push_back(absl::StrCat(kind.value, " for ", NameRanks(kind.ranks, hosts)));
    report.Warn(absl::StrCat("GPUs of several kinds: ", absl::StrJoin(texts, ", ")),
                "the slowest kind sets the pace; take hosts of one kind if you can");
  }
}

}  // namespace

std::optional<torch::Device> BindAndDescribeHosts(const config::Config& config, const launcher::World& world,
                                                  Report& report) {
  report.Begin("hosts");
  const auto bound =
      launcher::BindDevice(world, {config.train.device, static_cast<int>(config.train.threads)});
  report.Error(bound.status());
  const auto device = bound.ok() ? std::optional<torch::Device>(*bound) : std::nullopt;
  const auto ranks = GatherFacts(OwnFacts(world, device));
  if (world.rank == 0) Describe(ranks, report);
  return device;
}

}  // namespace trainer::preflight
