#pragma once

// The run as its folder shows it: what the trainer wrote is all that the launcher knows of its progress.

#include <cstdint>
#include <map>
#include <string>

#include "absl/status/statusor.h"

namespace launcher::tool {

// What the launcher must know of the configuration.
struct RunConfig {
  std::string dir;
  int64_t global_batch = 1;
  int64_t accumulate = 1;
};

// From what `trainer ... --print-config` prints. kInvalidArgument where run.dir, train.global_batch or
// train.accumulate is not in it, or not what it should be.
absl::StatusOr<RunConfig> ReadRunConfig(const std::string& yaml);

// What has happened since a start.
struct Progress {
  bool ranks_are_up = false;  // the run is set up, and all ranks catch signals
  int64_t from_step = 0;      // where it went on from; 0 until ranks_are_up
  int64_t step = 0;           // the newest that left a trace: logged, or saved
  int64_t saved_step = 0;     // of the newest checkpoint since then; from_step where there is none
  bool made_step() const { return ranks_are_up && step > from_step; }
};

// Reads only; files that are missing, torn or of another form count as nothing new. Not thread-safe.
class RunFolder {
 public:
  explicit RunFolder(std::string path) : path_(std::move(path)) {}

  // Call it before each start: what is there now is not this start's doing.
  void MarkStart();
  Progress SinceMark() const;

  // Step of the newest checkpoint, 0 where there is none; whether it is valid only the trainer finds out.
  int64_t NewestCheckpoint() const;

 private:
  // Checkpoints by step, with the time of their last change in nanoseconds.
  std::map<int64_t, int64_t> Checkpoints() const;

  // How much of a file that grows was there, and how it began: another one may have taken its place.
  struct Mark {
    int64_t size = 0;
    std::string begin;
  };
  static Mark MarkOf(const std::string& path);
  // What has been added since.
  static std::string Since(const Mark& mark, const std::string& path);

  std::string path_;
  Mark starts_;
  Mark log_;
  std::map<int64_t, int64_t> checkpoints_;
};

}  // namespace launcher::tool
