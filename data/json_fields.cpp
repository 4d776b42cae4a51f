#include "data/json_fields.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "data/status_macros.h"

namespace data {
namespace {

absl::Status Wrong(const std::string& key, const std::string& expected) {
  return absl::InvalidArgumentError(absl::StrCat("'", key, "' is not ", expected));
}

}  // namespace

absl::StatusOr<const nlohmann::json*> JsonField(const nlohmann::json& json, const std::string& key) {
  if (!json.is_object()) return absl::InvalidArgumentError(absl::StrCat("no object to hold '", key, "'"));
  const auto it = json.find(key);
  if (it == json.end()) return absl::InvalidArgumentError(absl::StrCat("'", key, "' is missing"));
  return &*it;
}

absl::StatusOr<int64_t> JsonInt(const nlohmann::json& json, const std::string& key, int64_t min,
                                int64_t max) {
  ASSIGN_OR_RETURN(const nlohmann::json* field, JsonField(json, key));
  if (!field->is_number_integer()) return Wrong(key, "an integer");
  constexpr auto kLargest = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  const bool too_large = field->is_number_unsigned() && field->get<uint64_t>() > kLargest;
  if (too_large || field->get<int64_t>() < min || field->get<int64_t>() > max) {
    return Wrong(key, absl::StrCat("in [", min, ", ", max, "]"));
  }
  return field->get<int64_t>();
}

absl::StatusOr<double> JsonNumber(const nlohmann::json& json, const std::string& key) {
  ASSIGN_OR_RETURN(const nlohmann::json* field, JsonField(json, key));
  if (!field->is_number() || !std::isfinite(field->get<double>())) return Wrong(key, "a number");
  return field->get<double>();
}

absl::StatusOr<bool> JsonBool(const nlohmann::json& json, const std::string& key) {
  ASSIGN_OR_RETURN(const nlohmann::json* field, JsonField(json, key));
  if (!field->is_boolean()) return Wrong(key, "true or false");
  return field->get<bool>();
}

absl::StatusOr<std::string> JsonString(const nlohmann::json& json, const std::string& key) {
  ASSIGN_OR_RETURN(const nlohmann::json* field, JsonField(json, key));
  if (!field->is_string()) return Wrong(key, "a string");
  return field->get<std::string>();
}

}  // namespace data
