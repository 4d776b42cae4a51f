// YAML text to a flat list of entries. Private to trainer/config.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/config/values.h"

namespace trainer::config {

struct Entry {
  std::string key;    // dotted
  std::string where;  // "simple.yaml:12" or "command line"
  RawValue value;
};

// The entries of `text` in their order. Sections are known (IsSection); keys may still be unknown or stand
// there twice.
absl::StatusOr<std::vector<Entry>> ReadEntries(const std::string& text, const std::string& name);

}  // namespace trainer::config
