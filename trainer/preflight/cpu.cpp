#include "trainer/preflight/cpu.h"

#include <algorithm>
#include <fstream>
#include <vector>

#include "absl/strings/ascii.h"

namespace trainer::preflight {
namespace {

// The value of the first line with one of `keys`; empty where there is none.
std::string FirstValue(const std::vector<std::string>& keys) {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const auto colon = line.find(':');
    if (colon == std::string::npos) continue;
    const std::string key(absl::StripAsciiWhitespace(line.substr(0, colon)));
    if (std::find(keys.begin(), keys.end(), key) == keys.end()) continue;
    return std::string(absl::StripAsciiWhitespace(line.substr(colon + 1)));
  }
  return "";
}

}  // namespace

std::string CpuModel() {
  // ARM's have no name there, but the number of the part.
  const auto model = FirstValue({"model name", "CPU part"});
  return model.empty() ? "unknown" : model;
}

}  // namespace trainer::preflight
