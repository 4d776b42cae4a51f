#include "trainer/telemetry/log.h"

#include <spdlog/details/file_helper.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <cstdio>
#include <memory>
#include <mutex>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

// spdlog stays inside this file: its {fmt} and the one among LibTorch's headers do not get along.

namespace trainer::telemetry {
namespace {

constexpr char kEraseLine[] = "\r\033[K";  // to the line's beginning; erase what follows (ECMA-48)

// Standard output, where log lines scroll above a last line that is redrawn.
class TerminalSink : public spdlog::sinks::base_sink<std::mutex> {
 public:
  void ShowStatus(const std::string& line) {
    const std::lock_guard lock(mutex_);
    if (level() > spdlog::level::info || (line.empty() && status_.empty())) return;
    status_ = line;
    Write(absl::StrCat(kEraseLine, status_));
    std::fflush(stdout);
  }

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    const std::string text(line.data(), line.size());
    Write(status_.empty() ? text : absl::StrCat(kEraseLine, text, status_));
  }
  void flush_() override { std::fflush(stdout); }

 private:
  static void Write(const std::string& text) { std::fwrite(text.data(), 1, text.size(), stdout); }

  std::string status_;
};

// A file that lines are appended to. Another one can take its place while other threads log.
class FileSink : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit FileSink(const std::string& path) { Open(path); }

  // Throws spdlog_ex.
  void Open(const std::string& path) {
    const std::lock_guard lock(mutex_);
    file_.open(path);
  }

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    file_.write(line);
  }
  void flush_() override { file_.flush(); }

 private:
  spdlog::details::file_helper file_;
};

// Rank 0's; null on others.
std::shared_ptr<TerminalSink>& Terminal() {
  static std::shared_ptr<TerminalSink> sink;
  return sink;
}

std::shared_ptr<FileSink>& LogFile() {
  static std::shared_ptr<FileSink> sink;
  return sink;
}

spdlog::level::level_enum LevelOf(Verbosity verbosity) {
  switch (verbosity) {
    case Verbosity::kQuiet:
      return spdlog::level::warn;
    case Verbosity::kNormal:
      return spdlog::level::info;
    case Verbosity::kVerbose:
      break;
  }
  return spdlog::level::debug;
}

}  // namespace

void StartLog(const LogOptions& options) {
  std::shared_ptr<spdlog::logger> logger;
  LogFile() = nullptr;
  if (options.rank == 0) {
    Terminal() = std::make_shared<TerminalSink>();
    Terminal()->set_pattern("%H:%M:%S %v");
    Terminal()->set_level(LevelOf(options.verbosity));
    logger = std::make_shared<spdlog::logger>("trainer", Terminal());
    logger->set_level(options.verbosity == Verbosity::kVerbose ? spdlog::level::debug : spdlog::level::info);
  } else {
    Terminal() = nullptr;
    auto sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
    sink->set_pattern(absl::StrCat("%H:%M:%S rank ", options.rank, " on ", options.host, ": %v"));
    logger = std::make_shared<spdlog::logger>("trainer", std::move(sink));
    logger->set_level(spdlog::level::warn);
  }
  logger->flush_on(spdlog::level::debug);
  // A log that cannot be written is no reason to fill stderr: of a full disk the next checkpoint tells.
  logger->set_error_handler([](const std::string&) {});
  spdlog::set_default_logger(std::move(logger));
}

absl::Status AddLogFile(const std::string& path) {
  if (Terminal() == nullptr) return absl::OkStatus();
  try {
    if (LogFile() != nullptr) {
      LogFile()->Open(path);
    } else {
      LogFile() = std::make_shared<FileSink>(path);
      LogFile()->set_pattern("%Y-%m-%dT%H:%M:%S%z %l %v");
      spdlog::default_logger()->sinks().push_back(LogFile());
    }
  } catch (const spdlog::spdlog_ex& error) {
    return absl::InvalidArgumentError(absl::StrCat("cannot write the log: ", error.what(),
                                                   "; set run.dir to a folder that can be written to"));
  }
  return absl::OkStatus();
}

void Info(const std::string& line) { spdlog::info("{}", line); }
void Warn(const std::string& line) { spdlog::warn("{}", line); }
void Detail(const std::string& line) { spdlog::debug("{}", line); }

void ShowStatus(const std::string& line) {
  if (Terminal() != nullptr) Terminal()->ShowStatus(line);
}

std::string FormatDuration(double seconds) {
  if (seconds < 60) return absl::StrFormat("%.1fs", seconds);
  const auto whole = static_cast<int64_t>(seconds + 0.5);
  if (whole < 3600) return absl::StrFormat("%dm%02ds", whole / 60, whole % 60);
  return absl::StrFormat("%dh%02dm", whole / 3600, whole % 3600 / 60);
}

}  // namespace trainer::telemetry
