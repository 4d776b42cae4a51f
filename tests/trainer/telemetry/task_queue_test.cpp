#include "trainer/telemetry/task_queue.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <thread>
#include <vector>

namespace trainer::telemetry {
namespace {

TEST(TaskQueueTest, DoesThemInTheirOrderOnAnotherThread) {
  std::vector<int> done;
  std::thread::id thread;
  TaskQueue queue;
  for (int i = 0; i < 100; ++i) {
    queue.Post([&, i] {
      done.push_back(i);
      thread = std::this_thread::get_id();
    });
  }
  queue.Wait();
  ASSERT_EQ(done.size(), 100u);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(done[static_cast<size_t>(i)], i);
  EXPECT_NE(thread, std::this_thread::get_id());
}

TEST(TaskQueueTest, WhoPostsDoesNotWait) {
  std::promise<void> go_on;
  std::atomic<bool> done = false;
  TaskQueue queue;
  queue.Post([&] { go_on.get_future().wait(); });
  queue.Post([&] { done = true; });
  EXPECT_FALSE(done);
  go_on.set_value();
  queue.Wait();
  EXPECT_TRUE(done);
}

TEST(TaskQueueTest, WhatIsPostedIsDoneBeforeTheEnd) {
  int done = 0;
  {
    TaskQueue queue;
    for (int i = 0; i < 10; ++i) {
      queue.Post([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
        ++done;
      });
    }
  }
  EXPECT_EQ(done, 10);
}

TEST(TaskQueueTest, MoreThanItHoldsHaveToWaitForRoom) {
  std::atomic<size_t> done = 0;
  TaskQueue queue;
  for (size_t i = 0; i < 3 * TaskQueue::kMost; ++i) queue.Post([&] { ++done; });
  EXPECT_GE(done + TaskQueue::kMost + 1, 3 * TaskQueue::kMost);  // one may be under way
  queue.Wait();
  EXPECT_EQ(done, 3 * TaskQueue::kMost);
}

}  // namespace
}  // namespace trainer::telemetry
