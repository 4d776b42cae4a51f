#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>

namespace data {

// Progress of a long job on stderr: on a terminal a bar with rate and time left, redrawn in place; elsewhere
// a plain line every few seconds. Thread-safe.
class Progress {
 public:
  // `total` in `unit`s ("utterances").
  Progress(std::string label, int64_t total, std::string unit);
  ~Progress();  // ends the bar's line
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void Add(int64_t amount = 1);
  // Prints the last state and a line end. Further calls do nothing.
  void Finish();

 private:
  using Clock = std::chrono::steady_clock;
  void Draw(Clock::time_point now);

  const std::string label_;
  const int64_t total_;
  const std::string unit_;
  const bool terminal_;
  const Clock::time_point start_;
  std::mutex mutex_;
  Clock::time_point next_draw_;
  int64_t done_ = 0;
  bool drawn_ = false;
  bool finished_ = false;
};

// "1:02:03" or "2:03".
std::string FormatDuration(double seconds);

}  // namespace data
