#include "trainer/telemetry/peak_flops.h"

#include <cctype>
#include <string_view>

namespace trainer::telemetry {
namespace {

struct Peak {
  const char* part;  // of the name
  double teraflops;
};

// The first one that fits counts: special forms of a GPU stand before the common one.
constexpr Peak kPeaks[] = {
    {"H100 PCIe", 51},   {"H100 NVL", 60}, {"H100", 67},   {"H200", 67},       {"GH200", 67},
    {"B200", 75},        {"A100", 19.5},   {"A800", 19.5}, {"A40", 37.4},      {"A30", 10.3},
    {"A10G", 31.5},      {"A10", 31.2},    {"L40S", 91.6}, {"L40", 90.5},      {"L4", 30.3},
    {"V100-PCIE", 14},   {"V100", 15.7},   {"T4", 8.1},    {"RTX 4090", 82.6}, {"RTX 3090", 35.6},
    {"RTX A6000", 38.7},
};

// Whether `part` stands in `name` as words of its own: an "RTX A3000" is no A30.
bool Names(std::string_view name, std::string_view part) {
  const size_t at = name.find(part);
  if (at == std::string_view::npos) return false;
  const auto ends_word = [&](size_t i) {
    return i >= name.size() || std::isalnum(static_cast<unsigned char>(name[i])) == 0;
  };
  return (at == 0 || ends_word(at - 1)) && ends_word(at + part.size());
}

}  // namespace

std::optional<double> PeakFlops(const std::string& name) {
  for (const auto& peak : kPeaks) {
    if (Names(name, peak.part)) return peak.teraflops * 1e12;
  }
  return std::nullopt;
}

}  // namespace trainer::telemetry
