// Signals must not reach a thread that multiplies matrices.
#include "launcher/signal_thread.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <thread>

#include "launcher/stop_signals.h"
#include "trainer/kernels/linear.h"

namespace {

std::atomic<pid_t> handled_on{0};

class SignalThreadTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { launcher::ReceiveSignalsOnOneThread(); }
};

TEST_F(SignalThreadTest, HandlersRunBesideTheCallerAndItsThreads) {
  struct sigaction action = {};
  action.sa_handler = [](int) { handled_on = gettid(); };
  ASSERT_EQ(sigaction(SIGUSR2, &action, nullptr), 0);
  std::thread([] {
    ASSERT_EQ(kill(getpid(), SIGUSR2), 0);
    while (handled_on == 0) std::this_thread::yield();
    EXPECT_NE(handled_on, gettid());
  }).join();
  EXPECT_NE(handled_on, gettid());
}

// Without the thread of their own this ends with a damaged heap within a second.
TEST_F(SignalThreadTest, AStormOfSignalsLeavesTheResultsAsTheyAre) {
  torch::set_num_threads(1);
  const torch::NoGradGuard no_gradients;
  const launcher::StopSignals signals;
  std::atomic<bool> done{false};
  std::thread storm([&] {
    while (!done) {
      kill(getpid(), SIGUSR1);
      usleep(20);
    }
  });
  const auto x = torch::randn({16, 512}), weight = torch::randn({32, 512});
  const auto expected = trainer::kernels::Linear(x, weight, torch::Tensor());
  for (int i = 0; i < 100'000; ++i) {
    if (!torch::equal(trainer::kernels::Linear(x, weight, torch::Tensor()), expected)) {
      ADD_FAILURE() << "product " << i << " differs";
      break;
    }
  }
  done = true;
  storm.join();
  EXPECT_EQ(signals.signal(), SIGUSR1);
}

}  // namespace
