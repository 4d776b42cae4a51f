// What all ranks have in common, and which of them differ.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace trainer::preflight {

// Every rank's facts on rank 0, in the order of ranks; nothing on the others. Collective.
std::vector<nlohmann::json> GatherFacts(const nlohmann::json& mine);

// One fact of all ranks: a text, "" where there is none; a number, no number where it is not known.
std::vector<std::string> TextOf(const std::vector<nlohmann::json>& ranks, const std::string& key);
std::vector<double> NumberOf(const std::vector<nlohmann::json>& ranks, const std::string& key);

// "rank 3 on node7", "ranks 0-3, 6 on node1, node2"; `hosts` of all ranks.
std::string NameRanks(const std::vector<int64_t>& ranks, const std::vector<std::string>& hosts);

// Ranks of one value.
struct Group {
  std::string value;
  std::vector<int64_t> ranks;  // ascending
};

// The most common value first; of equally common ones that of the lower rank.
std::vector<Group> GroupByValue(const std::vector<std::string>& values);

// A rank that is slower than the others.
struct SlowRank {
  int64_t rank = 0;
  double speed = 0, median = 0;
};

// Those below 80 % of the median of `speeds`, of an even number the upper median: so of two ranks the slower
// one is measured by the faster one. Values that are no numbers are left out. Ascending.
std::vector<SlowRank> FindSlowRanks(const std::vector<double>& speeds);

// "3.2 GB", "64 KB", "512 B": powers of 1000, three digits.
std::string FormatBytes(double bytes);

// 5812345 -> "5,812,345".
std::string FormatCount(int64_t count);

}  // namespace trainer::preflight
