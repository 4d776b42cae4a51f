#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace data {

struct ZipEntry {
  std::string name;
  std::span<const uint8_t> bytes;  // into the archive
};

// Lists a zip archive of stored (not compressed) entries, which is what torch.save writes. Every entry's
// bounds and CRC-32 are checked. kDataLoss: damaged or truncated; kInvalidArgument: compressed, encrypted, or
// of more than 4 GiB.
absl::StatusOr<std::vector<ZipEntry>> ReadStoredZip(std::span<const uint8_t> archive);

}  // namespace data
