#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace data {

// "train:valid:test=80:10:10": names and integer weights.
struct SplitSpec {
  std::vector<std::string> names;
  std::vector<int64_t> weights;
};

// kInvalidArgument says what is wrong and shows the form.
absl::StatusOr<SplitSpec> ParseSplit(const std::string& text);

// Whether `name` can name a split: 1 to 64 of letters, digits, '.', '_', '-'.
bool IsSplitName(const std::string& name);

// Deals the utterances of each speaker to the splits by weight: for each utterance the index into spec.names,
// -1 for unlabelled ones (speaker -1). Every count is within one of its exact share, shares below one
// utterance are right on average over speakers, and the first split gets at least one utterance of every
// speaker. A function of (seed, speakers) alone.
std::vector<int32_t> AssignSplits(const SplitSpec& spec, uint64_t seed, std::span<const int32_t> speakers);

}  // namespace data
