// Work that nobody should have to wait for, such as writing to a disk that may be slow.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace trainer::telemetry {

// Does tasks one after another, in the order in which they came, on a thread of its own. Tasks must not
// throw. Thread-safe, but for the destructor.
class TaskQueue {
 public:
  TaskQueue();
  // Does what has been posted first.
  ~TaskQueue();
  TaskQueue(const TaskQueue&) = delete;
  TaskQueue& operator=(const TaskQueue&) = delete;

  // Returns at once, unless `kMost` tasks are waiting already: then as soon as there is room.
  void Post(std::function<void()> task);
  static constexpr size_t kMost = 1024;

  // Returns once all is done that was posted before.
  void Wait();

 private:
  void Run();

  std::mutex mutex_;
  std::condition_variable posted_;  // or the end
  std::condition_variable done_;
  std::deque<std::function<void()>> tasks_;  // guarded by mutex_, like what follows
  int64_t posted_count_ = 0;
  int64_t done_count_ = 0;
  bool ending_ = false;
  std::thread thread_;  // last: uses all of the above
};

}  // namespace trainer::telemetry
