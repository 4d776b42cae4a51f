#include "launcher/stall.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace launcher::internal {
namespace {

auto Position(const RankState& rank) { return std::tuple(rank.step, rank.part, rank.phase, rank.sum); }

bool PastLimit(const RankState& rank) {
  return rank.limit_seconds > 0 && rank.idle_seconds >= rank.limit_seconds;
}

const std::string& NameOf(int32_t phase, const std::vector<std::string>& phases) {
  static const std::string unknown = "?";
  return phase >= 0 && static_cast<size_t>(phase) < phases.size() ? phases[static_cast<size_t>(phase)]
                                                                  : unknown;
}

// "step 12, all-reduce wait (bucket 3)"
std::string PlaceOf(const RankState& rank, const std::vector<std::string>& phases) {
  std::string place = rank.step > 0 ? absl::StrCat("step ", rank.step, ", ") : "";
  absl::StrAppend(&place, NameOf(rank.phase, phases));
  if (rank.waits && rank.sum >= 0) absl::StrAppend(&place, " (bucket ", rank.sum, ")");
  return place;
}

}  // namespace

std::optional<Stall> JudgeStall(const std::vector<RankState>& ranks) {
  // Whoever reports tells how long is too long; it is he, too, who has been kept waiting.
  std::optional<double> limit;
  for (const auto& rank : ranks) {
    if (!rank.left && PastLimit(rank))
      limit = std::min(limit.value_or(rank.limit_seconds), rank.limit_seconds);
  }
  if (!limit) return std::nullopt;

  const auto is_silent = [&](const RankState& rank) { return rank.silent_seconds >= *limit / 2; };
  const RankState* late = nullptr;
  Stall stall;
  const auto find = [&](Late why, const auto& belongs) {
    for (size_t i = 0; i < ranks.size(); ++i) {
      if (ranks[i].left || !belongs(ranks[i])) continue;
      ++stall.others;
      if (late != nullptr && Position(*late) <= Position(ranks[i])) continue;
      late = &ranks[i];
      stall.rank = static_cast<int>(i);
    }
    stall.why = why;
    stall.others = std::max(0, stall.others - 1);
    return late != nullptr;
  };
  if (find(Late::kSilent, is_silent)) {
    // It may have been idle for a while before it fell silent, or the other way round.
    stall.seconds = std::max(*limit, late->silent_seconds);
    return stall;
  }
  const auto works = [](const RankState& rank) { return !rank.waits; };
  if (find(Late::kStuck, [&](const RankState& rank) { return works(rank) && PastLimit(rank); })) {
    stall.seconds = late->idle_seconds;
    return stall;
  }
  // Somebody still works, and may take the time.
  if (find(Late::kStuck, works)) return std::nullopt;
  find(Late::kBehind, [](const RankState&) { return true; });
  if (late == nullptr || !PastLimit(*late)) return std::nullopt;
  stall.seconds = late->idle_seconds;
  stall.others = static_cast<int>(std::count_if(ranks.begin(), ranks.end(),
                                                [&](const RankState& rank) {
                                                  return !rank.left && Position(rank) == Position(*late);
                                                })) -
                 1;
  const bool alike = std::all_of(ranks.begin(), ranks.end(), [&](const RankState& rank) {
    return rank.left || Position(rank) == Position(*late);
  });
  if (alike) stall.why = Late::kAlike;
  return stall;
}

std::string DescribeStall(const Stall& stall, const std::vector<RankState>& ranks,
                          const std::vector<std::string>& phases) {
  const auto& late = ranks[static_cast<size_t>(stall.rank)];
  const std::string host = late.host.empty() ? "" : absl::StrCat(" on ", late.host);
  const std::string place = late.host.empty() ? "it has never reported" : PlaceOf(late, phases);
  const std::string others = stall.others == 0 ? "" : absl::StrCat(", and ", stall.others, " more,");
  if (stall.why == Late::kAlike && ranks.size() > 1) {
    return absl::StrFormat(
        "no rank has made progress for %.0f s: all wait for each other, rank %d%s at %s; check the network "
        "(and the GPUs) of the hosts",
        stall.seconds, stall.rank, host, place);
  }
  const char* advice = "";
  switch (stall.why) {
    case Late::kSilent:
      advice = "its process does not answer: it is stopped, or its host is";
      break;
    case Late::kStuck:
      advice = "it is at work that does not end: check its disk, memory and GPU";
      break;
    case Late::kBehind:
      advice = "all wait, and it has got least far: check its network and GPU";
      break;
    case Late::kAlike:
      advice = "check its disk, memory and GPU";
      break;
  }
  return absl::StrFormat("rank %d%s%s has made no progress for %.0f s: %s; %s", stall.rank, host, others,
                         stall.seconds, place, advice);
}

std::string StallToJsonLines(const Stall& stall, const std::string& line, const std::vector<RankState>& ranks,
                             const std::vector<std::string>& phases) {
  constexpr const char* kWhy[] = {"silent", "stuck", "behind", "alike"};
  std::string lines;
  const auto add = [&](const nlohmann::ordered_json& json) {
    absl::StrAppend(&lines, json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace), "\n");
  };
  add({{"kind", "stall"},
       {"rank", stall.rank},
       {"host", ranks[static_cast<size_t>(stall.rank)].host},
       {"why", kWhy[static_cast<size_t>(stall.why)]},
       {"seconds", stall.seconds},
       {"message", line}});
  for (size_t i = 0; i < ranks.size(); ++i) {
    const auto& rank = ranks[i];
    add({{"kind", "rank"},
         {"rank", i},
         {"host", rank.host},
         {"step", rank.step},
         {"phase", NameOf(rank.phase, phases)},
         {"part", rank.part},
         {"bucket", rank.sum},
         {"waits", rank.waits},
         {"idle_seconds", rank.idle_seconds},
         {"silent_seconds", rank.silent_seconds}});
    for (const auto& event : rank.events) {
      add({{"kind", "event"},
           {"rank", i},
           {"time", rank.unix_seconds - 1e-9 * static_cast<double>(rank.nanoseconds - event.nanoseconds)},
           {"step", event.step},
           {"phase", NameOf(event.phase, phases)},
           {"part", event.part}});
    }
  }
  return lines;
}

}  // namespace launcher::internal
