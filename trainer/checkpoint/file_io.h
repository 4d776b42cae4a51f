// Files and folders that survive a crash. Private to trainer/checkpoint. Errors name the path and the reason.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace trainer::checkpoint {

// Writes (over) `path` and fsyncs it; removes it where that fails.
absl::Status WriteSynced(const std::string& path, const std::vector<std::span<const char>>& pieces);

// Makes the folder and those above it as far as they are missing, and fsyncs the folders that they are made
// in.
absl::Status MakeFolders(const std::string& path);

// Renames a folder to a name that may be taken by another one, which `from` then names, or nothing does.
absl::Status ReplaceFolder(const std::string& from, const std::string& to);

// Makes `path` a symbolic link to `target`, at once also where it was a link before; `temporary` is a free
// name beside.
absl::Status ReplaceLink(const std::string& path, const std::string& target, const std::string& temporary);

uint64_t ChecksumOf(const std::vector<std::span<const char>>& pieces);

// 16 hexadecimal digits.
std::string Hex(uint64_t checksum);

}  // namespace trainer::checkpoint
