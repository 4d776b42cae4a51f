#include "trainer/telemetry/task_queue.h"

#include <pthread.h>

#include <utility>

namespace trainer::telemetry {

TaskQueue::TaskQueue() : thread_([this] { Run(); }) {}

TaskQueue::~TaskQueue() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  posted_.notify_one();
  thread_.join();
}

void TaskQueue::Post(std::function<void()> task) {
  {
    std::unique_lock lock(mutex_);
    done_.wait(lock, [this] { return tasks_.size() < kMost; });
    tasks_.push_back(std::move(task));
    ++posted_count_;
  }
  posted_.notify_one();
}

void TaskQueue::Wait() {
  std::unique_lock lock(mutex_);
  done_.wait(lock, [this, count = posted_count_] { return done_count_ >= count; });
}

void TaskQueue::Run() {
  pthread_setname_np(pthread_self(), "recorder");
  std::unique_lock lock(mutex_);
  for (;;) {
    posted_.wait(lock, [this] { return ending_ || !tasks_.empty(); });
    if (tasks_.empty()) return;
    const auto task = std::move(tasks_.front());
    tasks_.pop_front();
    lock.unlock();
    task();
    lock.lock();
    ++done_count_;
    done_.notify_all();
  }
}

}  // namespace trainer::telemetry
