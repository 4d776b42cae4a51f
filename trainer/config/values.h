// One configuration value: from text to its type, checked, and back. Private to trainer/config.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace trainer::config {

// A value as it was written, its type not yet looked at.
struct RawValue {
  std::vector<std::string> items;  // one where it is not a list
  bool is_list = false;
  bool quoted = false;  // "1" is a string, 1 is a number
};

// What a value may be.
struct Rule {
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
  bool excludes_min = false;
  bool excludes_max = false;
  std::vector<std::string> choices;   // of a string; all where empty
  std::vector<int64_t> numbers = {};  // of a whole number; all within the bounds where empty

  // "> 0", "in [0, 1)", "one of relu, gelu"; "" where anything goes.
  std::string Describe() const;
};

// Each turns `raw` into `value`. An error says what is wrong with the value, not where it is.
absl::Status Set(const RawValue& raw, const Rule& rule, bool* value);
absl::Status Set(const RawValue& raw, const Rule& rule, int64_t* value);
absl::Status Set(const RawValue& raw, const Rule& rule, double* value);
absl::Status Set(const RawValue& raw, const Rule& rule, std::string* value);
absl::Status Set(const RawValue& raw, const Rule& rule, std::array<double, 2>* value);

// `value` as YAML on one line, which Set turns back into the same value bit for bit.
std::string Print(const nlohmann::json& value);

// The one of `candidates` that `word` was most likely meant to be, "" where none is near. Of candidates with
// dots, the part behind the last dot is compared as well, so that "lr" finds "optimizer.lr".
std::string Nearest(const std::string& word, const std::vector<std::string>& candidates);

}  // namespace trainer::config
