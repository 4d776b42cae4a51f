// RUN/metrics.jsonl: one JSON object a logged step, safe to append to over restarts.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace trainer::telemetry {

// Written by rank 0, one thread.
class MetricsFile {
 public:
  // Opens `path` for appending. Lines of steps beyond `last_step`, which a run that goes on from there will
  // write again, and a torn last line are dropped first (through a temporary file and a rename). Errors: what
  // the file system says, with the path.
  static absl::StatusOr<MetricsFile> Open(const std::string& path, int64_t last_step);

  // Appends one line, all of it or nothing. Errors: a full disk and the like, with the path; the next line
  // may succeed again.
  absl::Status Append(const nlohmann::ordered_json& line);

  // Has the disk keep what was appended, as far as it can: where it cannot, the lines are as safe as others'.
  void Sync() const;

 private:
  explicit MetricsFile(std::string path) : path_(std::move(path)) {}

  std::string path_;
};

}  // namespace trainer::telemetry
