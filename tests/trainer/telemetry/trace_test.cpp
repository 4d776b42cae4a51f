#include "trainer/telemetry/trace.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <thread>

namespace trainer::telemetry {
namespace {

using ::testing::ElementsAre;

TraceSpan Span(const std::string& name, Track track, int64_t start_ns, int64_t end_ns) {
  return {name, "phase", track, start_ns, end_ns, {}};
}

std::vector<std::string> Names(const std::vector<TraceSpan>& spans) {
  std::vector<std::string> names;
  for (const auto& span : spans) names.push_back(span.name);
  return names;
}

// The spans ("X") of a file, in its order; what names the ranks and threads in `metadata`.
std::vector<nlohmann::json> Spans(const std::string& file, std::vector<nlohmann::json>* metadata = nullptr) {
  std::vector<nlohmann::json> spans;
  const auto json = nlohmann::json::parse(file);
  for (const auto& event : json.at("traceEvents")) {
    if (event.at("ph") == "X") {
      spans.push_back(event);
    } else if (metadata != nullptr) {
      metadata->push_back(event);
    }
  }
  return spans;
}

TEST(TraceRecorder, KeepsNothingWhileItIsOff) {
  TraceRecorder recorder;
  recorder.Add(Span("before", Track::kMain, 0, 1));
  { const ScopedSpan span(recorder, "before", "step"); }
  recorder.Start();
  recorder.Add(Span("b", Track::kMain, 5, 6));
  recorder.Add(Span("inner", Track::kMain, 2, 3));
  recorder.Add(Span("outer", Track::kMain, 2, 4));
  recorder.Stop();
  recorder.Add(Span("after", Track::kMain, 7, 8));
  EXPECT_THAT(Names(recorder.Take().first), ElementsAre("outer", "inner", "b"));
  EXPECT_TRUE(recorder.Take().first.empty());
}

TEST(TraceRecorder, ScopedSpansNest) {
  TraceRecorder recorder;
  recorder.Start();
  {
    const ScopedSpan outer(recorder, "outer", "step");
    const ScopedSpan inner(recorder, "inner", "phase");
  }
  const auto spans = recorder.Take().first;
  ASSERT_THAT(Names(spans), ElementsAre("outer", "inner"));
  EXPECT_LE(spans[0].start_ns, spans[1].start_ns);
  EXPECT_LE(spans[1].start_ns, spans[1].end_ns);
  EXPECT_LE(spans[1].end_ns, spans[0].end_ns);
}

TEST(TraceRecorder, IsBounded) {
  TraceRecorder recorder(3);
  recorder.Start();
  for (int i = 0; i < 5; ++i) recorder.Add(Span(std::to_string(i), Track::kMain, i, i + 1));
  const auto [spans, dropped] = recorder.Take();
  EXPECT_THAT(Names(spans), ElementsAre("0", "1", "2"));
  EXPECT_EQ(dropped, 2);
  EXPECT_EQ(recorder.Take().second, 0);
}

TEST(TraceRecorder, TakesSpansOfManyThreads) {
  TraceRecorder recorder;
  recorder.Start();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&recorder, t] {
      for (int i = 0; i < 1000; ++i) recorder.Add(Span(std::to_string(t), Track::kLoader, i, i + 1));
    });
  }
  for (auto& thread : threads) thread.join();
  std::map<std::string, int> counts;
  for (const auto& span : recorder.Take().first) ++counts[span.name];
  EXPECT_EQ(counts, (std::map<std::string, int>{{"0", 1000}, {"1", 1000}, {"2", 1000}, {"3", 1000}}));
}

TEST(RankTrace, TravelsAsBytes) {
  RankTrace trace{3, "node\xff", "clock", {10, -20}, {Span("forward", Track::kMain, 1'000'000'000'123, 7)},
                  4};
  trace.spans[0].args = {{"bytes", int64_t{1} << 40}, {"step", 12}};
  trace.spans[0].track = Track::kLoader;
  const auto bytes = ToBytes(trace);
  const auto back = RankTraceFromBytes(bytes);
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(ToBytes(*back), bytes);
  EXPECT_EQ(back->host, trace.host);
  EXPECT_EQ(back->barrier_ns, trace.barrier_ns);
  EXPECT_EQ(back->spans[0].args, trace.spans[0].args);
  EXPECT_EQ(back->spans[0].track, Track::kLoader);
  for (size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_FALSE(RankTraceFromBytes(bytes.substr(0, length)).ok()) << length;
  }
}

TEST(ClockOffsets, AreThoseOfTheHosts) {
  // Host b's clock is 1,000,000 ns ahead; its ranks leave the barriers up to 400 ns after rank 0, once
  // 90,000.
  const std::vector<RankTrace> ranks = {
      {0, "a", "clock a", {1'000, 2'000, 3'000, 4'000, 5'000}, {}, 0},
      {1, "a", "clock a", {1'700, 2'900, 3'100, 4'100, 5'100}, {}, 0},
      {2, "b", "clock b", {1'001'100, 1'092'000, 1'003'200, 1'004'000, 1'005'400}, {}, 0},
      {3, "b", "clock b", {1'009'000, 1'099'000, 1'009'000, 1'009'000, 1'009'000}, {}, 0}};
  EXPECT_THAT(ClockOffsets(ranks), ElementsAre(0, 0, -1'000'200, -1'000'200));
}

TEST(ChromeTrace, HasARowForEachThreadOfEachRank) {
  RankTrace first{0, "a", "clock a", {100}, {}, 0}, second{1, "b", "clock b", {1'100}, {}, 0};
  first.spans = {Span("step 1", Track::kMain, 5'000, 9'000), Span("forward", Track::kMain, 5'000, 6'500)};
  first.spans[0].args = {{"step", 1}};
  second.spans = {Span("all-reduce", Track::kCommunication, 6'250, 7'250)};
  std::vector<nlohmann::json> metadata;
  const auto spans = Spans(ToChromeTrace({first, second}), &metadata);

  const nlohmann::json expected = {
      {{"name", "step 1"},
       {"cat", "phase"},
       {"ph", "X"},
       {"pid", 0},
       {"tid", 0},
       {"ts", 0.0},
       {"dur", 4.0},
       {"args", {{"step", 1}}}},
      {{"name", "forward"}, {"cat", "phase"}, {"ph", "X"}, {"pid", 0}, {"tid", 0}, {"ts", 0.0}, {"dur", 1.5}},
      {{"name", "all-reduce"},
       {"cat", "phase"},
       {"ph", "X"},
       {"pid", 1},
       {"tid", 1},
       {"ts", 0.25},  // 1,000 ns earlier by rank 0's clock
       {"dur", 1.0}}};
  EXPECT_EQ(nlohmann::json(spans), expected);

  std::vector<std::string> names;
  for (const auto& event : metadata) {
    if (event["name"] == "process_name" || event["name"] == "thread_name") {
      names.push_back(event["args"]["name"].get<std::string>());
    }
  }
  EXPECT_THAT(names, ElementsAre("rank 0 (a)", "main", "rank 1 (b)", "communication"));
}

TEST(ChromeTrace, IsAFileEvenWithoutSpans) {
  EXPECT_TRUE(Spans(ToChromeTrace({{0, "a\xff", "clock", {}, {}, 0}})).empty());
}

}  // namespace
}  // namespace trainer::telemetry
