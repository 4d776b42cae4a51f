#pragma once

#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace data {

// Typed access to the fields of a JSON object that nobody has vouched for: a field that is missing, of
// another type or out of range is kInvalidArgument naming it. `json` may be any JSON value.

absl::StatusOr<const nlohmann::json*> JsonField(const nlohmann::json& json, const std::string& key);
absl::StatusOr<int64_t> JsonInt(const nlohmann::json& json, const std::string& key, int64_t min = 0,
                                int64_t max = std::numeric_limits<int64_t>::max());
absl::StatusOr<double> JsonNumber(const nlohmann::json& json, const std::string& key);  // finite
absl::StatusOr<bool> JsonBool(const nlohmann::json& json, const std::string& key);
absl::StatusOr<std::string> JsonString(const nlohmann::json& json, const std::string& key);

}  // namespace data
