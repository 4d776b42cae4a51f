#pragma once

// The last things that a process did, cheap enough to note all of them.

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <vector>

namespace launcher::internal {

// Begins to be `phase` at `nanoseconds` of the steady clock. Sent between ranks as bytes.
struct Event {
  int64_t nanoseconds = 0;
  int64_t step = 0;
  int32_t phase = 0;
  int32_t part = -1;  // micro-batch, bucket, ...; -1: the whole
};

// Any thread may add, any thread may read, and nobody waits: a clock read and six stores an event. Only where
// one thread is held up amid Add() while others add 256 more may that one event come out mixed.
class EventRing {
 public:
  void Add(int64_t step, int32_t phase, int32_t part) {
    const uint64_t number = count_.fetch_add(1, std::memory_order_relaxed);
    Slot& slot = slots_[number % kSlots];
    // Readers take a slot only if it is stamped with the number that they expect before and after.
    slot.stamp.store(0, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_release);
    slot.nanoseconds.store(Now(), std::memory_order_relaxed);
    slot.step.store(step, std::memory_order_relaxed);
    slot.phase.store(phase, std::memory_order_relaxed);
    slot.part.store(part, std::memory_order_relaxed);
    slot.stamp.store(number + 1, std::memory_order_release);
  }

  // How many were ever added.
  uint64_t count() const { return count_.load(std::memory_order_relaxed); }

  // The last `most` of them, oldest first, but for such as are just being written or overwritten.
  std::vector<Event> Last(size_t most) const {
    std::vector<Event> events;
    const uint64_t end = count();
    const uint64_t kept = most < kSlots ? most : kSlots;
    for (uint64_t number = end > kept ? end - kept : 0; number < end; ++number) {
      const Slot& slot = slots_[number % kSlots];
      if (slot.stamp.load(std::memory_order_acquire) != number + 1) continue;
      Event event;
      event.nanoseconds = slot.nanoseconds.load(std::memory_order_relaxed);
      event.step = slot.step.load(std::memory_order_relaxed);
      event.phase = slot.phase.load(std::memory_order_relaxed);
      event.part = slot.part.load(std::memory_order_relaxed);
      std::atomic_thread_fence(std::memory_order_acquire);
      if (slot.stamp.load(std::memory_order_relaxed) == number + 1) events.push_back(event);
    }
    return events;
  }

  static int64_t Now() {
    return std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count();
  }

 private:
  static constexpr size_t kSlots = 256;
  struct Slot {
    std::atomic<uint64_t> stamp{0};  // its event's number, counted from 1
    std::atomic<int64_t> nanoseconds{0};
    std::atomic<int64_t> step{0};
    std::atomic<int32_t> phase{0};
    std::atomic<int32_t> part{-1};
  };

  std::array<Slot, kSlots> slots_;
  std::atomic<uint64_t> count_{0};
};

}  // namespace launcher::internal
