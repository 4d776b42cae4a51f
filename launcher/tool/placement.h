#pragma once

// How many ranks to start, and where.

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "launcher/tool/child_process.h"
#include "launcher/tool/run_folder.h"
#include "launcher/tool/settings.h"

namespace launcher::tool {

struct Placement {
  int ranks = 0;
  std::vector<std::string> mpirun_words;  // all options of mpirun that say where
  std::vector<std::string> lost_hosts;
};

// Finds a place before each start. Without Settings::least_ranks that is the one that the command line names.
// With it, mpirun itself is asked, by starting `true`: first on each host alone, and those that do not answer
// within half a minute are lost; then on all others, with fewer and fewer ranks until they fit.
class Placer {
 public:
  Placer(const Settings& settings, Processes& processes) : settings_(settings), processes_(processes) {}
  ~Placer();
  Placer(const Placer&) = delete;
  Placer& operator=(const Placer&) = delete;

  // The Placement is good until the next call. kUnavailable: there is no room for least_ranks; kCancelled: a
  // signal came; kInternal: the system refuses what is needed.
  absl::StatusOr<Placement> Place(const RunConfig& config);

 private:
  // Which of the commands end with 0.
  absl::StatusOr<std::vector<bool>> Try(const std::vector<std::vector<std::string>>& commands);
  absl::Status WriteHostfile(const std::string& text);

  const Settings& settings_;
  Processes& processes_;
  std::string temporary_;  // a hostfile without the lost hosts
};

}  // namespace launcher::tool
