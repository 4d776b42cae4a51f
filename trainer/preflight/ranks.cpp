#include "trainer/preflight/ranks.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "launcher/control.h"

namespace trainer::preflight {
namespace {

constexpr double kSlow = 0.8;

}  // namespace

std::vector<nlohmann::json> GatherFacts(const nlohmann::json& mine) {
  // Names of hosts and processors may hold any bytes.
  const auto text = mine.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  std::vector<nlohmann::json> all;
  for (const auto& rank : launcher::GatherStrings(text, 0)) all.push_back(nlohmann::json::parse(rank));
  return all;
}

std::vector<std::string> TextOf(const std::vector<nlohmann::json>& ranks, const std::string& key) {
  std::vector<std::string> texts;
  texts.reserve(ranks.size());
  for (const auto& rank : ranks) texts.push_back(rank.value(key, ""));
  return texts;
}

std::vector<double> NumberOf(const std::vector<nlohmann::json>& ranks, const std::string& key) {
  std::vector<double> numbers;
  numbers.reserve(ranks.size());
  for (const auto& rank : ranks) {
    const auto found = rank.find(key);
    const bool known = found != rank.end() && found->is_number();
    numbers.push_back(known ? found->get<double>() : std::numeric_limits<double>::quiet_NaN());
  }
  return numbers;
}

std::string NameRanks(const std::vector<int64_t>& ranks, const std::vector<std::string>& hosts) {
  std::vector<std::string> pieces;
  std::vector<std::string> names;
  for (size_t i = 0; i < ranks.size();) {
    size_t last = i;
    while (last + 1 < ranks.size() && ranks[last + 1] == ranks[last] + 1) ++last;
    pieces.push_back(last == i ? absl::StrCat(ranks[i]) : absl::StrCat(ranks[i], "-", ranks[last]));
    i = last + 1;
  }
  for (const auto rank : ranks) {
    const auto& host = hosts[static_cast<size_t>(rank)];
    if (std::find(names.begin(), names.end(), host) == names.end()) names.push_back(host);
  }
  return absl::StrCat(ranks.size() == 1 ? "rank " : "ranks ", absl::StrJoin(pieces, ", "), " on ",
                      absl::StrJoin(names, ", "));
}

std::vector<Group> GroupByValue(const std::vector<std::string>& values) {
  std::vector<Group> groups;
  for (size_t rank = 0; rank < values.size(); ++rank) {
    auto group = std::find_if(groups.begin(), groups.end(),
                              [&](const Group& other) { return other.value == values[rank]; });
    if (group == groups.end()) group = groups.insert(groups.end(), {values[rank], {}});
    group->ranks.push_back(static_cast<int64_t>(rank));
  }
  std::stable_sort(groups.begin(), groups.end(),
                   [](const Group& a, const Group& b) { return a.ranks.size() > b.ranks.size(); });
  return groups;
}

std::vector<SlowRank> FindSlowRanks(const std::vector<double>& speeds) {
  std::vector<double> known;
  for (const double speed : speeds) {
    if (std::isfinite(speed)) known.push_back(speed);
  }
  if (known.empty()) return {};
  std::sort(known.begin(), known.end());
  const double median = known[known.size() / 2];
  std::vector<SlowRank> slow;
  for (size_t rank = 0; rank < speeds.size(); ++rank) {
    if (speeds[rank] < kSlow * median) slow.push_back({static_cast<int64_t>(rank), speeds[rank], median});
  }
  return slow;
}

std::string FormatBytes(double bytes) {
  static constexpr std::array<const char*, 6> kUnits = {"B", "KB", "MB", "GB", "TB", "PB"};
  size_t unit = 0;
  while (unit + 1 < kUnits.size() && bytes >= 999.5) bytes /= 1000, ++unit;
  return absl::StrFormat("%.*f %s",
                         unit == 0 || bytes >= 99.95 ? 0
                         : bytes >= 9.995            ? 1
                                                     : 2,
                         bytes, kUnits[unit]);
}

std::string FormatCount(int64_t count) {
  std::string digits = absl::StrCat(count);
  for (auto at = static_cast<int64_t>(digits.size()) - 3; at > 0; at -= 3) {
    digits.insert(static_cast<size_t>(at), 1, ',');
  }
  return digits;
}

}  // namespace trainer::preflight
