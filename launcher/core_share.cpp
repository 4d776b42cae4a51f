#include "launcher/core_share.h"

#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <fstream>
#include <system_error>

#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "launcher/error.h"

namespace launcher::internal {
namespace {

// Far above what Linux supports (8192), so that the mask always fits.
constexpr int kMaxCpus = 16384;

double Tighter(double a, double b) { return a == 0 ? b : b == 0 ? a : std::min(a, b); }

// The two numbers "quota period" as CPUs; 0 where the quota is "max", negative, or the files are not there.
double Quota(std::istream& quota_file, std::istream& period_file) {
  std::string quota_text;
  double quota = 0;
  double period = 0;
  if (!(quota_file >> quota_text) || !absl::SimpleAtod(quota_text, &quota) || !(period_file >> period))
    return 0;
  return quota > 0 && period > 0 ? quota / period : 0;
}

double QuotaOfFolder(const std::string& folder) {
  std::ifstream both(folder + "/cpu.max");  // version 2
  if (both) return Quota(both, both);
  std::ifstream quota(folder + "/cpu.cfs_quota_us");  // version 1
  std::ifstream period(folder + "/cpu.cfs_period_us");
  return Quota(quota, period);
}

// A group's own quota and those of the groups it lies in, up to the mount point (whose path inside a
// container may well be the group itself, however `group` calls it).
double QuotaOfPath(const std::string& mount, std::string group) {
  double limit = 0;
  while (true) {
    limit = Tighter(limit, QuotaOfFolder(mount + group));
    const size_t slash = group.rfind('/');
    if (slash == std::string::npos) return limit;
    group.resize(slash);
  }
}

}  // namespace

std::vector<int> AffinityCpus() {
  cpu_set_t* mask = CPU_ALLOC(kMaxCpus);
  LAUNCHER_REQUIRE(mask != nullptr, "Is memory exhausted?");
  const size_t bytes = CPU_ALLOC_SIZE(kMaxCpus);
  std::vector<int> cpus;
  const bool known = sched_getaffinity(0, bytes, mask) == 0;
  const int error = errno;
  for (int cpu = 0; known && cpu < kMaxCpus; ++cpu) {
    if (CPU_ISSET_S(cpu, bytes, mask)) cpus.push_back(cpu);
  }
  CPU_FREE(mask);
  if (!known)
    Fail("sched_getaffinity", __FILE__, __LINE__, std::generic_category().message(error),
         "Give the number of threads");
  return cpus;
}

std::string EncodeCpus(const std::vector<int>& cpus) { return absl::StrJoin(cpus, ","); }

std::vector<int> DecodeCpus(const std::string& text) {
  std::vector<int> cpus;
  for (const auto piece : absl::StrSplit(text, ',', absl::SkipEmpty())) {
    int cpu = 0;
    LAUNCHER_REQUIRE(absl::SimpleAtoi(piece, &cpu), "Do all ranks run the same version of this program?");
    cpus.push_back(cpu);
  }
  return cpus;
}

int ShareOfCpus(const std::vector<int>& own, const std::vector<std::vector<int>>& ranks, double limit) {
  double share = 0;
  for (const int cpu : own) {
    const auto users = std::count_if(ranks.begin(), ranks.end(), [cpu](const std::vector<int>& cpus) {
      return std::find(cpus.begin(), cpus.end(), cpu) != cpus.end();
    });
    share += 1.0 / static_cast<double>(std::max<int64_t>(1, users));
  }
  if (limit > 0) share = std::min(share, limit / static_cast<double>(std::max<size_t>(1, ranks.size())));
  // 3 times 1/3 must be 1.
  return std::max(1, static_cast<int>(std::floor(share + 1e-6)));
}

double CgroupCpuLimitUnder(const std::string& mount, const std::string& membership) {
  double limit = 0;
  std::ifstream file(membership);
  for (std::string line; std::getline(file, line);) {
    // "0::/user.slice" (version 2) or "4:cpu,cpuacct:/docker/12ab" (version 1).
    const std::vector<std::string> fields = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (fields.size() != 3) continue;
    const std::vector<std::string> controllers = absl::StrSplit(fields[1], ',');
    if (fields[1].empty()) {
      limit = Tighter(limit, QuotaOfPath(mount, fields[2]));
    } else if (std::find(controllers.begin(), controllers.end(), "cpu") != controllers.end()) {
      limit = Tighter(limit, QuotaOfPath(mount + "/cpu", fields[2]));
    }
  }
  return limit;
}

}  // namespace launcher::internal
