#include "trainer/scoring/trials.h"

#include <algorithm>
#include <map>
#include <set>
#include <unordered_map>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "data/random.h"
#include "data/status_macros.h"

namespace trainer::scoring {
namespace {

constexpr auto kTargets = data::FreePurpose(32);
constexpr auto kOthers = data::FreePurpose(33);

// What is shown of a user's text in a message: one line, not too long.
std::string Shown(absl::string_view text) {
  constexpr size_t kMost = 80;
  return absl::StrCat("'", absl::Utf8SafeCHexEscape(text.substr(0, kMost)), text.size() > kMost ? "..." : "",
                      "'");
}

absl::Status CheckBothKinds(const std::vector<Trial>& trials) {
  if (trials.empty()) return absl::InvalidArgumentError("there is no trial in it");
  const auto targets =
      std::count_if(trials.begin(), trials.end(), [](const Trial& trial) { return trial.target; });
  if (targets > 0 && targets < static_cast<int64_t>(trials.size())) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("there is no ", targets == 0 ? "target" : "nontarget",
                                                 " trial; error rates need trials of both kinds"));
}

// Utterances by speaker: members[first[s]] to members[first[s + 1] - 1] are those of speaker s, ascending.
struct Groups {
  std::vector<int64_t> members;
  std::vector<int64_t> first = {0};

  explicit Groups(const std::vector<int32_t>& speakers) {
    std::map<int32_t, std::vector<int64_t>> by_speaker;
    for (size_t i = 0; i < speakers.size(); ++i) by_speaker[speakers[i]].push_back(static_cast<int64_t>(i));
    for (const auto& [speaker, utterances] : by_speaker) {
      members.insert(members.end(), utterances.begin(), utterances.end());
      first.push_back(static_cast<int64_t>(members.size()));
    }
  }

  size_t size() const { return first.size() - 1; }
  int64_t count(size_t speaker) const { return first[speaker + 1] - first[speaker]; }
  int64_t utterances() const { return static_cast<int64_t>(members.size()); }
  int64_t member(int64_t place) const { return members[static_cast<size_t>(place)]; }
};

Trial Pair(int64_t a, int64_t b, bool target) { return {std::min(a, b), std::max(a, b), target}; }

// Calls add(i, j) for every pair of places i < j in `groups` of the wanted kind.
template <typename Add>
void ForEachPair(const Groups& groups, bool targets, const Add& add) {
  for (size_t s = 0; s < groups.size(); ++s) {
    for (int64_t i = groups.first[s]; i < groups.first[s + 1]; ++i) {
      const int64_t begin = targets ? i + 1 : groups.first[s + 1];
      const int64_t end = targets ? groups.first[s + 1] : groups.utterances();
      for (int64_t j = begin; j < end; ++j) add(i, j);
    }
  }
}

// `wanted` of the `pairs` pairs of one kind.
std::vector<Trial> Choose(const Groups& groups, bool targets, int64_t pairs, int64_t wanted, uint64_t seed) {
  std::vector<Trial> chosen;
  if (pairs <= wanted) {
    ForEachPair(groups, targets, [&](int64_t i, int64_t j) {
      chosen.push_back(Pair(groups.member(i), groups.member(j), targets));
    });
    return chosen;
  }
  // Ordered pairs are numbered through: speaker by speaker, and for each utterance of his all its partners.
  std::vector<int64_t> ends;
  for (size_t s = 0; s < groups.size(); ++s) {
    const int64_t partners = targets ? groups.count(s) - 1 : groups.utterances() - groups.count(s);
    ends.push_back((ends.empty() ? 0 : ends.back()) + groups.count(s) * partners);
  }
  data::RandomStream random(seed, targets ? kTargets : kOthers, 0, 0);
  std::set<std::pair<int64_t, int64_t>> taken;
  while (static_cast<int64_t>(chosen.size()) < wanted) {
    const auto number = static_cast<int64_t>(random.Below(static_cast<uint64_t>(ends.back())));
    const auto s = static_cast<size_t>(std::upper_bound(ends.begin(), ends.end(), number) - ends.begin());
    const int64_t begin = groups.first[s], count = groups.count(s);
    const int64_t partners = targets ? count - 1 : groups.utterances() - count;
    const int64_t rest = number - (s == 0 ? 0 : ends[s - 1]);
    const int64_t i = begin + rest / partners;
    int64_t j = rest % partners;
    if (targets) {
      j += begin;
      if (j >= i) ++j;  // not itself
    } else if (j >= begin) {
      j += count;  // not one of his own
    }
    const Trial trial = Pair(groups.member(i), groups.member(j), targets);
    if (taken.emplace(trial.enrol, trial.test).second) chosen.push_back(trial);
  }
  return chosen;
}

}  // namespace

absl::StatusOr<std::vector<Trial>> ParseTrials(const std::string& text, const std::vector<std::string>& ids,
                                               const std::string& where) {
  std::unordered_map<std::string, int64_t> number_of;
  for (size_t i = 0; i < ids.size(); ++i) number_of.emplace(ids[i], static_cast<int64_t>(i));
  std::vector<Trial> trials;
  int64_t number = 0;
  // Some editors put a byte order mark before the first line.
  for (absl::string_view line : absl::StrSplit(absl::StripPrefix(text, "\xEF\xBB\xBF"), '\n')) {
    ++number;
    line = absl::StripSuffix(line, "\r");
    if (absl::StripAsciiWhitespace(line).empty()) continue;
    const auto error = [&](const std::string& what) {
      return absl::InvalidArgumentError(absl::StrCat("line ", number, ": ", what));
    };
    const bool tabs = line.find('\t') != absl::string_view::npos;
    const std::vector<absl::string_view> fields =
        tabs ? absl::StrSplit(line, '\t')
             : std::vector<absl::string_view>(absl::StrSplit(line, ' ', absl::SkipEmpty()));
    if (fields.size() != 3) {
      return error(
          absl::StrCat(Shown(line), " has ", fields.size(),
                       " fields; a trial is: label enrol test (parted by tabs where ids have blanks)"));
    }
    Trial trial;
    trial.target = fields[0] == "1" || fields[0] == "target";
    if (!trial.target && fields[0] != "0" && fields[0] != "nontarget") {
      return error(absl::StrCat("the label is ", Shown(fields[0]), "; it must be 1, 0, target or nontarget"));
    }
    for (size_t i = 1; i < 3; ++i) {
      const auto found = number_of.find(std::string(fields[i]));
      if (found == number_of.end()) return error(absl::StrCat(Shown(fields[i]), " is not in ", where));
      (i == 1 ? trial.enrol : trial.test) = found->second;
    }
    trials.push_back(trial);
  }
  RETURN_IF_ERROR(CheckBothKinds(trials));
  return trials;
}

absl::StatusOr<std::string> FormatTrials(const std::vector<Trial>& trials,
                                         const std::vector<std::string>& ids) {
  char mark = ' ';
  for (const auto& id : ids) {
    if (id.find_first_of("\t\r\n") != std::string::npos || absl::StripAsciiWhitespace(id) != id ||
        id.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("utterance ", Shown(id),
                       " cannot be named in a list of "
                       "trials: its id has a tab, a line end, or blanks around"));
    }
    if (id.find(' ') != std::string::npos) mark = '\t';
  }
  std::string text;
  for (const auto& trial : trials) {
    absl::StrAppend(&text, trial.target ? "1" : "0", std::string(1, mark),
                    ids[static_cast<size_t>(trial.enrol)], std::string(1, mark),
                    ids[static_cast<size_t>(trial.test)], "\n");
  }
  return text;
}

absl::StatusOr<std::vector<Trial>> MakeTrials(const std::vector<int32_t>& speakers, int64_t limit,
                                              uint64_t seed) {
  const Groups groups(speakers);
  const int64_t n = groups.utterances();
  int64_t targets = 0;
  for (size_t s = 0; s < groups.size(); ++s) targets += groups.count(s) * (groups.count(s) - 1) / 2;
  const int64_t pairs = n * (n - 1) / 2, others = pairs - targets;
  if (targets == 0) {
    return absl::InvalidArgumentError("no speaker has two utterances, so there is no target trial");
  }
  if (others == 0) {
    return absl::InvalidArgumentError("all utterances are of one speaker, so there is no nontarget trial");
  }
  const bool all = pairs <= limit;
  auto trials = Choose(groups, true, targets, all ? targets : limit / 2, seed);
  const auto more = Choose(groups, false, others, all ? others : limit / 2, seed);
  trials.insert(trials.end(), more.begin(), more.end());
  std::sort(trials.begin(), trials.end(), [](const Trial& a, const Trial& b) {
    return a.enrol != b.enrol ? a.enrol < b.enrol : a.test < b.test;
  });
  return trials;
}

}  // namespace trainer::scoring
