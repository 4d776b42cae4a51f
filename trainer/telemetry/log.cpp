#include "trainer/telemetry/log.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace trainer::telemetry {

// spdlog stays inside this file: its {fmt} and the one among LibTorch's headers do not get along.
void StartLog(int rank, const std::string& host) {
  std::shared_ptr<spdlog::logger> logger;
  if (rank == 0) {
    auto sink = std::make_shared<spdlog::sinks::stdout_sink_mt>();
    sink->set_pattern("%H:%M:%S %v");
    logger = std::make_shared<spdlog::logger>("trainer", std::move(sink));
  } else {
    auto sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
    sink->set_pattern(absl::StrCat("%H:%M:%S rank ", rank, " on ", host, ": %v"));
    logger = std::make_shared<spdlog::logger>("trainer", std::move(sink));
    logger->set_level(spdlog::level::warn);
  }
  logger->flush_on(spdlog::level::info);
  // A log that cannot be written is no reason to fill stderr: of a full disk the next checkpoint tells.
  logger->set_error_handler([](const std::string&) {});
  spdlog::set_default_logger(std::move(logger));
}

absl::Status AddLogFile(const std::string& path) {
  if (!spdlog::default_logger()->should_log(spdlog::level::info)) return absl::OkStatus();
  try {
    auto sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(path);
    sink->set_pattern("%Y-%m-%dT%H:%M:%S%z %l %v");
    spdlog::default_logger()->sinks().push_back(std::move(sink));
  } catch (const spdlog::spdlog_ex& error) {
    return absl::InvalidArgumentError(absl::StrCat("cannot write the log: ", error.what()));
  }
  return absl::OkStatus();
}

void Info(const std::string& line) { spdlog::info("{}", line); }
void Warn(const std::string& line) { spdlog::warn("{}", line); }

std::string FormatDuration(double seconds) {
  if (seconds < 60) return absl::StrFormat("%.1fs", seconds);
  const auto whole = static_cast<int64_t>(seconds + 0.5);
  if (whole < 3600) return absl::StrFormat("%dm%02ds", whole / 60, whole % 60);
  return absl::StrFormat("%dh%02dm", whole / 3600, whole % 3600 / 60);
}

}  // namespace trainer::telemetry
