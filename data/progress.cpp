#include "data/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace data {
namespace {

constexpr auto kTerminalPeriod = std::chrono::milliseconds(200);
constexpr auto kLogPeriod = std::chrono::seconds(5);
constexpr int kBarWidth = 24;

}  // namespace

std::string FormatDuration(double seconds) {
  const int64_t s = std::llround(std::clamp(seconds, 0.0, 3.6e8));
  if (s < 3600) return absl::StrFormat("%d:%02d", s / 60, s % 60);
  return absl::StrFormat("%d:%02d:%02d", s / 3600, s / 60 % 60, s % 60);
}

Progress::Progress(std::string label, int64_t total, std::string unit)
    : label_(std::move(label)),
      total_(total),
      unit_(std::move(unit)),
      terminal_(isatty(STDERR_FILENO) == 1),
      start_(Clock::now()),
      next_draw_(start_ + (terminal_ ? Clock::duration(kTerminalPeriod) : Clock::duration(kLogPeriod))) {}

Progress::~Progress() {
  if (terminal_ && drawn_ && !finished_) std::fputc('\n', stderr);
}

void Progress::Add(int64_t amount) {
  std::lock_guard lock(mutex_);
  done_ += amount;
  const Clock::time_point now = Clock::now();
  if (finished_ || now < next_draw_) return;
  next_draw_ = now + (terminal_ ? Clock::duration(kTerminalPeriod) : Clock::duration(kLogPeriod));
  Draw(now);
}

void Progress::Finish() {
  std::lock_guard lock(mutex_);
  if (finished_) return;
  Draw(Clock::now());
  if (terminal_) std::fputc('\n', stderr);
  finished_ = true;
}

void Progress::Draw(Clock::time_point now) {
  const double seconds = std::max(1e-3, std::chrono::duration<double>(now - start_).count());
  const double rate = static_cast<double>(done_) / seconds;
  const double fraction =
      total_ > 0 ? std::min(1.0, static_cast<double>(done_) / static_cast<double>(total_)) : 1.0;
  const std::string left =
      done_ >= total_ ? absl::StrCat("took ", FormatDuration(seconds))
      : done_ > 0     ? absl::StrCat(FormatDuration(static_cast<double>(total_ - done_) / rate), " left")
                      : std::string("? left");
  const std::string text = absl::StrFormat("%3.0f%% %d/%d %s, %.0f/s, %s", std::floor(100 * fraction), done_,
                                           total_, unit_, rate, left);
  drawn_ = true;
  if (terminal_) {
    const int filled = static_cast<int>(fraction * kBarWidth);
    const std::string bar = std::string(static_cast<size_t>(filled), '#') +
                            std::string(static_cast<size_t>(kBarWidth - filled), '.');
    // "\x1b[K" clears what a longer line left behind.
    std::fprintf(stderr, "\r%s [%s] %s\x1b[K", label_.c_str(), bar.c_str(), text.c_str());
  } else {
    std::fprintf(stderr, "%s: %s\n", label_.c_str(), text.c_str());
  }
  std::fflush(stderr);
}

}  // namespace data
