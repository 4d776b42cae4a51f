#include "data/split.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "data/random.h"
#include "data/status_macros.h"

namespace data {

bool IsSplitName(const std::string& name) {
  return !name.empty() && name.size() <= 64 && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  });
}

absl::StatusOr<SplitSpec> ParseSplit(const std::string& text) {
  auto wrong = [&](const std::string& why) {
    return absl::InvalidArgumentError(
        absl::StrCat("split '", text, "': ", why, "; write it as train:valid:test=80:10:10"));
  };
  const std::vector<std::string> sides = absl::StrSplit(text, '=');
  if (sides.size() != 2) return wrong("not NAMES=WEIGHTS");
  SplitSpec spec;
  spec.names = absl::StrSplit(sides[0], ':');
  const std::vector<std::string> weights = absl::StrSplit(sides[1], ':');
  if (weights.size() != spec.names.size()) {
    return wrong(absl::StrCat(spec.names.size(), " names but ", weights.size(), " weights"));
  }
  for (size_t i = 0; i < weights.size(); ++i) {
    int64_t weight = 0;
    if (!IsSplitName(spec.names[i]))
      return wrong(absl::StrCat("'", spec.names[i], "' is no name for a split"));
    if (std::count(spec.names.begin(), spec.names.end(), spec.names[i]) > 1) {
      return wrong(absl::StrCat("'", spec.names[i], "' comes twice"));
    }
    if (!absl::SimpleAtoi(weights[i], &weight) || weight < 1 || weight > 1'000'000) {
      return wrong(absl::StrCat("weight '", weights[i], "' is not a whole number from 1 to 1000000"));
    }
    spec.weights.push_back(weight);
  }
  return spec;
}

std::vector<int32_t> AssignSplits(const SplitSpec& spec, uint64_t seed, std::span<const int32_t> speakers) {
  // The labelled utterances, grouped by speaker, in order within each.
  std::vector<int64_t> order(speakers.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return speakers[static_cast<size_t>(a)] < speakers[static_cast<size_t>(b)];
  });
  const int64_t total_weight = std::accumulate(spec.weights.begin(), spec.weights.end(), int64_t{0});

  std::vector<int32_t> assigned(speakers.size(), -1);
  for (size_t begin = 0, end = 0; begin < order.size(); begin = end) {
    const int32_t speaker = speakers[static_cast<size_t>(order[begin])];
    while (end < order.size() && speakers[static_cast<size_t>(order[end])] == speaker) ++end;
    if (speaker < 0) continue;
    RandomStream random(seed, Purpose::kSplit, 0, static_cast<uint64_t>(speaker));
    for (size_t i = end - begin; i > 1; --i) std::swap(order[begin + i - 1], order[begin + random.Below(i)]);

    // Systematic sampling: one random offset for all boundaries keeps every count within one of its share and
    // unbiased. The first split's boundary is pushed to at least one utterance.
    const int64_t count = static_cast<int64_t>(end - begin);
    const int64_t offset = static_cast<int64_t>(random.Below(static_cast<uint64_t>(total_weight)));
    int64_t weight = 0, from = 0;
    for (size_t split = 0; split < spec.names.size(); ++split) {
      weight += spec.weights[split];
      const bool last = split + 1 == spec.names.size();
      int64_t to = last ? count : (count * weight + offset) / total_weight;
      to = std::clamp<int64_t>(to, std::max<int64_t>(from, split == 0 ? 1 : 0), count);
      for (int64_t i = from; i < to; ++i) {
        assigned[static_cast<size_t>(order[begin + static_cast<size_t>(i)])] = static_cast<int32_t>(split);
      }
      from = to;
    }
  }
  return assigned;
}

}  // namespace data
