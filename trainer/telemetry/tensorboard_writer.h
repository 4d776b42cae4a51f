// RUN/tensorboard: event files that TensorBoard opens (`tensorboard --logdir RUN`).
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/telemetry/summary.h"

namespace trainer::telemetry {

// Note [Event files over restarts]
// Each start writes a file of its own, whose name sorts behind those that are there: a record torn by a crash
// ends its file for every reader, and nothing may stand behind it. The file's first word to the reader is
// that the run starts at the step after the checkpoint's, upon which TensorBoard forgets what older files
// hold of that step and later ones. (Its faster data server, which does without Python, forgets them tag by
// tag, as the run comes to these steps again.)
//
// Written by rank 0, one thread. Between writes no file is open.
class TensorBoardWriter {
 public:
  // Begins a new event file in `folder`, which is made where it is not there. `last_step`: the run goes on
  // after it; 0 for a new run. Errors: what the file system says, with the path.
  static absl::StatusOr<TensorBoardWriter> Open(const std::string& folder, int64_t last_step);

  // Appends the values of `step`; one record, none where `summary` is empty. Errors: a full disk and the
  // like, with the path. Then nothing of this record stays, and a later Write may do better.
  absl::Status Write(const Summary& summary, int64_t step, double unix_seconds);

  const std::string& folder() const { return folder_; }

 private:
  TensorBoardWriter(std::string folder, std::string path)
      : folder_(std::move(folder)), path_(std::move(path)) {}
  absl::Status Append(const Message& event);

  std::string folder_;
  std::string path_;  // of the event file
};

}  // namespace trainer::telemetry
