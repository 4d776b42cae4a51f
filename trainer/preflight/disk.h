// A folder's disk: how much is free, how fast it is.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace trainer::preflight {

// `folder`, or where it would be made: the nearest one above it that is there. (It may be a file.)
std::string NearestFolder(const std::string& folder);

// Bytes that are free for this user on the disk of a folder that is there.
absl::StatusOr<double> FreeBytes(const std::string& folder);

// Bytes of all files below a folder; 0 where there is none.
double BytesBelow(const std::string& folder);

// Bytes a second of writing to a folder, synced to the disk. Writes 32 MB at most, to a file without a name,
// of which nothing stays.
absl::StatusOr<double> WriteSpeed(const std::string& folder);

}  // namespace trainer::preflight
