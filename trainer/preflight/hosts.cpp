#include "trainer/preflight/hosts.h"

#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "launcher/cores.h"
#include "launcher/device.h"
#include "trainer/preflight/memory.h"
#include "trainer/preflight/ranks.h"

namespace trainer::preflight {
namespace {

constexpr double kMostlyFree = 0.8;

nlohmann::json OwnFacts(const launcher::World& world, const std::optional<torch::Device>& device,
                        const std::vector<launcher::RankCores>& cores) {
  nlohmann::json facts = {{"host", world.host}, {"available_memory_bytes", AvailableMemory()}};
  if (!device) return facts;
  const auto& own = cores[static_cast<size_t>(world.rank)];
  facts["device"] = device->str();
  facts["threads"] = at::get_num_threads();
  facts["cores"] = own.share;
  facts["cpus"] = own.cpus;
  facts["cpu_limit"] = launcher::CgroupCpuLimit();
  if (world.local_rank == 0) facts["warning"] = launcher::WarnOfNarrowBinding(world, cores);
  if (!device->is_cuda()) return facts;
  const auto gpu = launcher::DescribeGpu(*device);
  const auto memory = launcher::QueryDeviceMemory(*device);
  facts["gpu"] = gpu.name;
  facts["gpu_pci_bus_id"] = gpu.pci_bus_id;
  facts["gpu_free_bytes"] = memory.free_bytes;
  facts["gpu_total_bytes"] = memory.total_bytes;
  return facts;
}

// CPUs that a host's ranks have together.
double CpusOf(const std::vector<int64_t>& members, const std::vector<nlohmann::json>& ranks) {
  std::set<int> cpus;
  double limit = 0;
  for (const auto member : members) {
    const auto& rank = ranks[static_cast<size_t>(member)];
    for (const int cpu : rank.value("cpus", std::vector<int>())) cpus.insert(cpu);
    limit = rank.value("cpu_limit", 0.0);
  }
  const auto count = static_cast<double>(cpus.size());
  return limit > 0 ? std::min(count, limit) : count;
}

// The GPUs of a host's ranks, each a text.
std::vector<std::string> DescribeGpus(const std::vector<int64_t>& members,
                                      const std::vector<nlohmann::json>& ranks,
                                      const std::vector<std::string>& hosts, Report& report) {
  std::vector<std::string> gpus;
  for (const auto member : members) {
    const auto& rank = ranks[static_cast<size_t>(member)];
    if (!rank.contains("gpu")) continue;
    gpus.push_back(absl::StrCat("rank ", member, ": ", rank.value("device", ""), " ", rank.value("gpu", ""),
                                " ", rank.value("gpu_pci_bus_id", "")));
    const double free = rank.value("gpu_free_bytes", 0.0), total = rank.value("gpu_total_bytes", 0.0);
    if (free >= kMostlyFree * total) continue;
    report.Warn(absl::StrCat("the GPU of ", NameRanks({member}, hosts), " has only ", FormatBytes(free),
                             " of ", FormatBytes(total), " free"),
                "end what else is running there (nvidia-smi)");
  }
  return gpus;
}

void DescribeHost(const Group& host, const std::vector<nlohmann::json>& ranks,
                  const std::vector<std::string>& hosts, Report& report) {
  const auto memory =
      FormatBytes(NumberOf(ranks, "available_memory_bytes")[static_cast<size_t>(host.ranks[0])]);
  const auto gpus = DescribeGpus(host.ranks, ranks, hosts, report);
  const double cpus = CpusOf(host.ranks, ranks);
  if (cpus == 0) {  // no device, and so nothing about cores
    report.Ok(absl::StrCat(NameRanks(host.ranks, hosts), ": ", memory, " of memory free"));
    return;
  }
  int64_t threads = 0;
  std::string warning;
  for (const auto member : host.ranks) {
    const auto& rank = ranks[static_cast<size_t>(member)];
    threads += rank.value("threads", int64_t{1});
    absl::StrAppend(&warning, rank.value("warning", ""));
  }
  report.Ok(absl::StrCat(NameRanks(host.ranks, hosts), ": ", cpus, " CPUs, ", threads, " threads in all, ",
                         memory, " of memory free", gpus.empty() ? "" : "; ", absl::StrJoin(gpus, ", ")));
  if (static_cast<double>(threads) > cpus) {
    report.Warn(absl::StrCat(threads, " threads of ", host.ranks.size(), " ranks share the ", cpus,
                             " CPUs of ", host.value),
                "start fewer ranks there, or lower train.threads");
  }
  if (!warning.empty()) report.Warn(warning, "");
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
  for (const auto& group : groups) DescribeHost(group, ranks, hosts, report);
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
  std::vector<launcher::RankCores> cores;
  const auto bound = launcher::BindDevice(world,
                                          {.requested = config.train.device,
                                           .threads = static_cast<int>(config.train.threads),
                                           .bind = config.train.bind == "auto"},
                                          &cores);
  report.Error(bound.status());
  const auto device = bound.ok() ? std::optional<torch::Device>(*bound) : std::nullopt;
  const auto ranks = GatherFacts(OwnFacts(world, device, cores));
  if (world.rank == 0) Describe(ranks, report);
  if (!cores.empty()) report.Ok(launcher::SummariseCores(cores));
  return device;
}

}  // namespace trainer::preflight
