#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace data {

// Runs produce(i) for i in [0, count) on `threads` threads and consume(i, value) on the calling thread, in
// order of i. At most `window` produced values exist at a time, so memory does not grow with `count`. The
// first error, of produce in order of i or of consume, ends it and is returned; values after it are dropped.
//   produce: absl::StatusOr<T>(int64_t i), called concurrently, must not throw.  consume:
//   absl::Status(int64_t i, T value).
template <typename T, typename Produce, typename Consume>
absl::Status OrderedParallel(int64_t count, int threads, int64_t window, Produce produce, Consume consume) {
  std::vector<std::optional<absl::StatusOr<T>>> slots(static_cast<size_t>(window));
  std::mutex mutex;
  std::condition_variable changed;
  int64_t next = 0;      // first index no thread has taken
  int64_t consumed = 0;  // first index not yet consumed
  bool stop = false;

  auto work = [&] {
    std::unique_lock lock(mutex);
    while (true) {
      changed.wait(lock, [&] { return stop || next >= count || next < consumed + window; });
      if (stop || next >= count) return;
      const int64_t index = next++;
      lock.unlock();
      absl::StatusOr<T> value = produce(index);
      lock.lock();
      slots[static_cast<size_t>(index % window)].emplace(std::move(value));
      changed.notify_all();
    }
  };

  std::vector<std::thread> workers;
  workers.reserve(static_cast<size_t>(threads));
  for (int i = 0; i < threads; ++i) workers.emplace_back(work);
  absl::Status status;
  for (int64_t i = 0; i < count && status.ok(); ++i) {
    auto& slot = slots[static_cast<size_t>(i % window)];
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return slot.has_value(); });
    absl::StatusOr<T> value = std::move(*slot);
    slot.reset();
    lock.unlock();
    status = value.ok() ? consume(i, *std::move(value)) : value.status();
    lock.lock();
    consumed = i + 1;
    changed.notify_all();
  }
  {
    std::lock_guard lock(mutex);
    stop = true;
    changed.notify_all();
  }
  for (std::thread& worker : workers) worker.join();
  return status;
}

}  // namespace data
