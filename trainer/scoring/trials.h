// Pairs of utterances to verify: lists of them, and how they are made where there is no list.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace trainer::scoring {

// Utterances are numbers into a list of ids.
struct Trial {
  int64_t enrol = 0;
  int64_t test = 0;
  bool target = false;  // the same speaker
  bool operator==(const Trial&) const = default;
};

// Reads lines "label enrol test": label is 1 or target, 0 or nontarget; enrol and test are utterance ids,
// each once in `ids`. Fields are parted by blanks; on a line with tabs by these alone, for ids with blanks in
// them. Empty lines are passed over; LF or CRLF. kInvalidArgument: "line 7: <what is wrong>"; also where one
// of both kinds is missing. `where` names what `ids` are of: "split 'test' of shards/".
absl::StatusOr<std::vector<Trial>> ParseTrials(const std::string& text, const std::vector<std::string>& ids,
                                               const std::string& where);

// The inverse of ParseTrials, labels 1 and 0. kInvalidArgument where an id cannot stand in such a list (it
// has a tab, a line end, or a blank at an end).
absl::StatusOr<std::string> FormatTrials(const std::vector<Trial>& trials,
                                         const std::vector<std::string>& ids);

// Trials out of utterances whose speakers are known: speakers[i] is that of utterance i. Each pair once, the
// earlier utterance enrolled, in ascending order. All pairs where those are at most `limit`. Otherwise a
// random sample without repetition, a function of `seed`: half of them targets and half not, as far as there
// are as many. kInvalidArgument where there is no pair of the one kind or the other. Time and memory grow
// with utterances and `limit`, not with the pairs.
absl::StatusOr<std::vector<Trial>> MakeTrials(const std::vector<int32_t>& speakers, int64_t limit,
                                              uint64_t seed);

}  // namespace trainer::scoring
