// Embeddings for TensorBoard's page PROJECTOR: files in the folder of its event files.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace trainer::telemetry {

struct ProjectorTable {
  std::string name;               // a file name: letters, digits, '-' and '_'
  std::span<const float> values;  // (N, width)
  int64_t width = 0;
  std::vector<std::string> columns;            // of the metadata, at least two
  std::vector<std::vector<std::string>> rows;  // (N) of (columns); tabs and line breaks become spaces
};

// Writes <name>.tsv, <name>_metadata.tsv and projector_config.pbtxt to `folder`, which must be there, in
// place of any that are; the last names the other two and comes last. Errors: what the file system says, with
// the path.
absl::Status WriteProjector(const ProjectorTable& table, const std::string& folder);

}  // namespace trainer::telemetry
