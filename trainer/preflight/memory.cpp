#include "trainer/preflight/memory.h"

#include <malloc.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "launcher/device.h"
#include "trainer/preflight/ranks.h"

// Of tcmalloc, where the program is linked with it (trainer/CMakeLists.txt).
extern "C" void MallocExtension_ReleaseFreeMemory() __attribute__((weak));

namespace trainer::preflight {
namespace {

namespace fs = std::filesystem;

constexpr double kMuch = 0.8;         // of a host's free memory
constexpr double kNearlyFull = 0.95;  // of a GPU's
constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

// A line "name:   123 kB", in bytes.
double KilobyteLine(const std::string& path, const std::string& name) {
  std::ifstream file(path);
  for (std::string word; file >> word;) {
    if (word != name) continue;
    double kilobytes = kUnknown;
    file >> kilobytes;
    return kilobytes * 1024;
  }
  return kUnknown;
}

// The number that is all of a file; not a number for "max", or where there is no file.
double NumberIn(const fs::path& path) {
  std::ifstream file(path);
  std::string word;
  double number = kUnknown;
  if (!(file >> word) || !absl::SimpleAtod(word, &number)) return kUnknown;
  return number;
}

// What is left below the tightest limit of the process' control group (version 2) and of those above it.
double LeftInControlGroup() {
  std::ifstream membership("/proc/self/cgroup");
  double least = kUnknown;
  for (std::string line; std::getline(membership, line);) {
    if (!absl::StartsWith(line, "0::/")) continue;
    const fs::path mount = "/sys/fs/cgroup";
    for (fs::path group = line.substr(4);; group = group.parent_path()) {
      // Cached files count as used, but give way.
      const double cached = [&] {
        std::ifstream statistics(mount / group / "memory.stat");
        double bytes = 0;
        for (std::string name; statistics >> name >> bytes;) {
          if (name == "inactive_file") return bytes;
        }
        return 0.0;
      }();
      const double left =
          NumberIn(mount / group / "memory.max") - (NumberIn(mount / group / "memory.current") - cached);
      if (!(least <= left)) least = left;
      if (group.empty()) break;
    }
  }
  return least;
}

std::string Percent(double share) { return absl::StrFormat("%.1f %%", 100 * share); }

void TellOfHosts(const std::vector<nlohmann::json>& ranks, const std::vector<std::string>& hosts,
                 int64_t to_come, Report& report) {
  const auto peaks = NumberOf(ranks, "peak"), grown = NumberOf(ranks, "grown");
  const auto available = NumberOf(ranks, "available");
  report.figures("memory")["peak_bytes"] = peaks;
  double most = 0;  // share of a host's free memory that its ranks need
  for (const auto& host : GroupByValue(hosts)) {
    double needed = 0;
    for (const auto member : host.ranks) {
      // What is saved is copied first.
      needed += grown[static_cast<size_t>(member)] + (member == 0 ? static_cast<double>(to_come) : 0);
    }
    const double free = available[static_cast<size_t>(host.ranks[0])];
    if (needed / free > most) most = needed / free;  // false where either is not known
    if (needed > kMuch * free) {
      report.Warn(absl::StrCat("memory is scarce on ", host.value, ": its ranks came to take ",
                               FormatBytes(needed), " more, of ", FormatBytes(free), " that were free"),
                  "start fewer ranks there, raise train.accumulate, or lower data.prefetch_batches");
    }
  }
  report.Ok(
      absl::StrFormat("a rank takes up to %s of memory; the run needs %s of what its fullest host had free",
                      FormatBytes(*std::max_element(peaks.begin(), peaks.end())), Percent(most)));
}

void TellOfDevices(const std::vector<nlohmann::json>& ranks, const std::vector<std::string>& hosts,
                   Report& report) {
  const auto peaks = NumberOf(ranks, "device_peak"), taken = NumberOf(ranks, "device_taken");
  report.figures("memory")["gpu_peak_bytes"] = peaks;
  for (size_t rank = 0; rank < ranks.size(); ++rank) {
    if (taken[rank] > kNearlyFull) {
      report.Warn(absl::StrCat("the GPU of ", NameRanks({static_cast<int64_t>(rank)}, hosts), " is ",
                               Percent(taken[rank]), " full"),
                  "raise train.accumulate, or lower train.global_batch");
    }
  }
  report.Ok(absl::StrFormat(
      "tensors take up to %s of a GPU; the fullest one is %s full, others' processes included",
      FormatBytes(*std::max_element(peaks.begin(), peaks.end())),
      Percent(*std::max_element(taken.begin(), taken.end()))));
}

// Memory that was freed, to the kernel.
void GiveBackFreed() {
  // tcmalloc's; the tests of this folder have the C library's malloc.
  if (MallocExtension_ReleaseFreeMemory != nullptr) {
    MallocExtension_ReleaseFreeMemory();
  } else {
    malloc_trim(0);
  }
}

}  // namespace

double AvailableMemory() {
  const double host = KilobyteLine("/proc/meminfo", "MemAvailable:");
  const double group = LeftInControlGroup();
  return group < host ? group : host;
}

MemoryWatch::MemoryWatch(c10::Device device) : device_(device) {
  GiveBackFreed();  // which counts as resident until then
  launcher::ForgetPeakDeviceMemory(device);
  // The kernel's own peak starts anew; where it refuses, the peak is what it ever was.
  std::ofstream("/proc/self/clear_refs") << "5" << std::flush;
  available_ = AvailableMemory();
  resident_ = KilobyteLine("/proc/self/status", "VmRSS:");
}

void MemoryWatch::Tell(const launcher::World& world, int64_t to_come, Report& report) const {
  const double peak = KilobyteLine("/proc/self/status", "VmHWM:");
  const auto device = launcher::QueryDeviceMemory(device_);
  const auto ranks = GatherFacts({{"host", world.host},
                                  {"available", available_},
                                  {"peak", peak},
                                  {"grown", peak - resident_},
                                  {"device_peak", launcher::PeakDeviceMemoryBytes(device_)},
                                  {"device_taken", 1 - device.free_bytes / device.total_bytes}});
  if (world.rank != 0) return;
  const auto hosts = TextOf(ranks, "host");
  TellOfHosts(ranks, hosts, to_come, report);
  if (device_.is_cuda()) TellOfDevices(ranks, hosts, report);
}

}  // namespace trainer::preflight
