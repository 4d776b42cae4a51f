#include "trainer/telemetry/trace.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace trainer::telemetry {
namespace {

constexpr std::array<const char*, 3> kTrackNames = {"main", "communication", "loader"};

// Outer spans first: then a viewer nests those that begin together.
bool Before(const TraceSpan& a, const TraceSpan& b) {
  return a.start_ns != b.start_ns ? a.start_ns < b.start_ns : a.end_ns > b.end_ns;
}

nlohmann::ordered_json Metadata(const char* what, int64_t rank, std::optional<int64_t> thread,
                                nlohmann::ordered_json args) {
  nlohmann::ordered_json event = {{"name", what}, {"ph", "M"}, {"pid", rank}, {"args", std::move(args)}};
  if (thread) event["tid"] = *thread;
  return event;
}

}  // namespace

int64_t TraceTime(std::chrono::steady_clock::time_point time) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count();
}

void TraceRecorder::Add(TraceSpan span) {
  if (!on()) return;
  const std::lock_guard lock(mutex_);
  if (spans_.size() < capacity_) {
    spans_.push_back(std::move(span));
  } else {
    ++dropped_;
  }
}

std::pair<std::vector<TraceSpan>, int64_t> TraceRecorder::Take() {
  const std::lock_guard lock(mutex_);
  auto spans = std::exchange(spans_, {});
  std::stable_sort(spans.begin(), spans.end(), Before);
  return {std::move(spans), std::exchange(dropped_, 0)};
}

ScopedSpan::ScopedSpan(TraceRecorder& recorder, std::string name, std::string category)
    : recorder_(recorder), on_(recorder.on()) {
  if (!on_) return;
  span_.name = std::move(name);
  span_.category = std::move(category);
  span_.start_ns = TraceNow();
}

ScopedSpan::~ScopedSpan() {
  if (!on_) return;
  span_.end_ns = TraceNow();
  recorder_.Add(std::move(span_));
}

std::string CurrentClock(const std::string& host) {
  std::string id;
  std::getline(std::ifstream("/proc/sys/kernel/random/boot_id"), id);
  return id.empty() ? host : id;
}

std::string ToBytes(const RankTrace& trace) {
  nlohmann::json spans = nlohmann::json::array();
  for (const auto& span : trace.spans) {
    spans.push_back(
        {span.name, span.category, static_cast<int>(span.track), span.start_ns, span.end_ns, span.args});
  }
  const auto bytes = nlohmann::json::to_cbor({{"rank", trace.rank},
                                              {"host", trace.host},
                                              {"clock", trace.clock},
                                              {"barriers", trace.barrier_ns},
                                              {"spans", std::move(spans)},
                                              {"dropped", trace.dropped}});
  return {bytes.begin(), bytes.end()};
}

absl::StatusOr<RankTrace> RankTraceFromBytes(const std::string& bytes) {
  try {
    const auto json = nlohmann::json::from_cbor(bytes);
    RankTrace trace{json.at("rank"),   json.at("host"), json.at("clock"), json.at("barriers"), {},
                    json.at("dropped")};
    for (const auto& span : json.at("spans")) {
      trace.spans.push_back({span.at(0), span.at(1), static_cast<Track>(span.at(2).get<int>()), span.at(3),
                             span.at(4), span.at(5)});
    }
    return trace;
  } catch (const nlohmann::json::exception& error) {
    return absl::DataLossError(absl::StrCat("a rank's timeline cannot be read: ", error.what()));
  }
}

std::vector<int64_t> ClockOffsets(const std::vector<RankTrace>& ranks) {
  std::vector<int64_t> offsets;
  for (const auto& rank : ranks) {
    const auto& first = *std::find_if(ranks.begin(), ranks.end(),
                                      [&](const RankTrace& other) { return other.clock == rank.clock; });
    std::vector<int64_t> differences;
    for (size_t i = 0; i < std::min(first.barrier_ns.size(), ranks[0].barrier_ns.size()); ++i) {
      differences.push_back(ranks[0].barrier_ns[i] - first.barrier_ns[i]);
    }
    const auto middle = differences.begin() + static_cast<std::ptrdiff_t>(differences.size() / 2);
    std::nth_element(differences.begin(), middle, differences.end());
    offsets.push_back(differences.empty() ? 0 : *middle);
  }
  return offsets;
}

std::string ToChromeTrace(const std::vector<RankTrace>& ranks) {
  const auto offsets = ClockOffsets(ranks);
  int64_t begin = std::numeric_limits<int64_t>::max();
  for (size_t i = 0; i < ranks.size(); ++i) {
    for (const auto& span : ranks[i].spans) begin = std::min(begin, span.start_ns + offsets[i]);
  }

  auto events = nlohmann::ordered_json::array();
  for (size_t i = 0; i < ranks.size(); ++i) {
    const auto& rank = ranks[i];
    events.push_back(Metadata("process_name", rank.rank, {},
                              {{"name", absl::StrCat("rank ", rank.rank, " (", rank.host, ")")}}));
    events.push_back(Metadata("process_sort_index", rank.rank, {}, {{"sort_index", rank.rank}}));
    for (size_t track = 0; track < kTrackNames.size(); ++track) {
      const auto thread = static_cast<int64_t>(track);
      const bool used = std::any_of(rank.spans.begin(), rank.spans.end(), [&](const TraceSpan& span) {
        return static_cast<size_t>(span.track) == track;
      });
      if (!used) continue;
      events.push_back(Metadata("thread_name", rank.rank, thread, {{"name", kTrackNames[track]}}));
      events.push_back(Metadata("thread_sort_index", rank.rank, thread, {{"sort_index", thread}}));
    }
    for (const auto& span : rank.spans) {
      nlohmann::ordered_json event = {{"name", span.name},
                                      {"cat", span.category},
                                      {"ph", "X"},
                                      {"pid", rank.rank},
                                      {"tid", static_cast<int>(span.track)},
                                      {"ts", static_cast<double>(span.start_ns + offsets[i] - begin) / 1000},
                                      {"dur", static_cast<double>(span.end_ns - span.start_ns) / 1000}};
      for (const auto& [key, value] : span.args) event["args"][key] = value;
      events.push_back(std::move(event));
    }
  }
  // One event a line: small differences, and tools that read lines, can deal with it.
  std::string text = "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n";
  for (size_t i = 0; i < events.size(); ++i) {
    const auto replace = nlohmann::json::error_handler_t::replace;
    absl::StrAppend(&text, events[i].dump(-1, ' ', false, replace), i + 1 < events.size() ? ",\n" : "\n");
  }
  return text + "]}\n";
}

}  // namespace trainer::telemetry
