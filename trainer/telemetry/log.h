// The log: rank 0 speaks, on the terminal and in RUN/train.log; other ranks only warn, with rank and host.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace trainer::telemetry {

enum class Verbosity {
  kQuiet,    // on the terminal only what is amiss; train.log holds the rest
  kNormal,   // and Info()
  kVerbose,  // and Detail()
};

struct LogOptions {
  int rank = 0;
  std::string host;
  Verbosity verbosity = Verbosity::kNormal;
};

// Sets up this process' log: information goes to rank 0's standard output, warnings of the other ranks to
// standard error, marked with rank and host. Call once, before the others below.
void StartLog(const LogOptions& options);

// From now on rank 0 also appends to `path`, and no longer to a file that was given before; nothing on other
// ranks. Errors: the file cannot be opened.
absl::Status AddLogFile(const std::string& path);

// One line. Any thread. On ranks other than 0 Info() and Detail() say nothing.
void Info(const std::string& line);
void Warn(const std::string& line);
void Detail(const std::string& line);

// Draws `line`, which must fit the terminal, on rank 0's standard output and leaves the cursor there: the
// next one replaces it, and log lines push it down. An empty one takes it away. Nothing where all is quiet.
void ShowStatus(const std::string& line);

// 75 -> "1m15s", 3.2 -> "3.2s": for people.
std::string FormatDuration(double seconds);

}  // namespace trainer::telemetry
