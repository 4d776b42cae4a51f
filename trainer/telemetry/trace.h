// The timeline of some steps, for Perfetto (ui.perfetto.dev) or Chrome (chrome://tracing): what each rank's
// threads did when.
//
// Note [One clock for all hosts]
// Spans are in nanoseconds of the steady clock, which all processes of a host share and which says nothing to
// another host. So when the traced steps are over, all ranks meet at a few barriers and note when they left
// each. Of a host other than rank 0's, the median difference between its first rank's times and rank 0's is
// taken off: right to about a tenth of a millisecond, the time that a barrier's last message travels and that
// a waiting rank naps. Ranks know that they share a clock by the kernel's boot id, not by the host's name.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace trainer::telemetry {

// The threads of a rank, each a row of the timeline.
enum class Track { kMain, kCommunication, kLoader };

struct TraceSpan {
  std::string name;
  std::string category;  // "step", "phase", "bucket", "batch"
  Track track = Track::kMain;
  int64_t start_ns = 0, end_ns = 0;                   // TraceNow()'s
  std::vector<std::pair<std::string, int64_t>> args;  // step, bytes, ...
};

// A moment as nanoseconds of std::chrono::steady_clock.
int64_t TraceTime(std::chrono::steady_clock::time_point time);
inline int64_t TraceNow() { return TraceTime(std::chrono::steady_clock::now()); }

// Collects spans from all threads of this process while it is on. Any thread, any method.
class TraceRecorder {
 public:
  // Keeps the first `capacity` spans, some 200 bytes each; of further ones only their number.
  explicit TraceRecorder(size_t capacity = 20'000) : capacity_(capacity) {}

  void Start() { on_.store(true, std::memory_order_relaxed); }
  void Stop() { on_.store(false, std::memory_order_relaxed); }
  // Costs a load: ask before anything is put together for Add().
  bool on() const { return on_.load(std::memory_order_relaxed); }

  // Nothing while it is off.
  void Add(TraceSpan span);

  // The spans so far, ordered by their start, and forgets them; the number of those that were too many.
  std::pair<std::vector<TraceSpan>, int64_t> Take();

 private:
  const size_t capacity_;
  std::atomic<bool> on_{false};
  std::mutex mutex_;
  std::vector<TraceSpan> spans_;  // guarded by mutex_
  int64_t dropped_ = 0;           // guarded by mutex_
};

// A span of the main thread that lasts as long as this object, where the recorder is on when it begins.
class ScopedSpan {
 public:
  ScopedSpan(TraceRecorder& recorder, std::string name, std::string category);
  ~ScopedSpan();
  ScopedSpan(const ScopedSpan&) = delete;
  ScopedSpan& operator=(const ScopedSpan&) = delete;

 private:
  TraceRecorder& recorder_;
  TraceSpan span_;
  const bool on_;
};

// All that one rank has to say.
struct RankTrace {
  int64_t rank = 0;
  std::string host;
  std::string clock;                // alike on ranks that share a steady clock: CurrentClock()
  std::vector<int64_t> barrier_ns;  // when it left each of the barriers; as many on all ranks
  std::vector<TraceSpan> spans;
  int64_t dropped = 0;
};

// The boot id of this host's kernel; its name where the kernel has none.
std::string CurrentClock(const std::string& host);

// To bytes, for the way to rank 0, and back. kDataLoss for bytes that are none of ToBytes.
std::string ToBytes(const RankTrace& trace);
absl::StatusOr<RankTrace> RankTraceFromBytes(const std::string& bytes);

// By how much each rank's times are to be moved to be rank 0's; see Note [One clock for all hosts]. `ranks`
// in the order of ranks, from 0.
std::vector<int64_t> ClockOffsets(const std::vector<RankTrace>& ranks);

// A file in Chrome's trace format: one process a rank, one thread a track, times from the first span's start.
// `ranks` in the order of ranks, from 0.
std::string ToChromeTrace(const std::vector<RankTrace>& ranks);

}  // namespace trainer::telemetry
