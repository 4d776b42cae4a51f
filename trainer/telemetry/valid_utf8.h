#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace trainer::telemetry {

// `text` with what is not UTF-8 (in a path, say) replaced by U+FFFD: readers refuse a message or a page as a
// whole that holds other bytes.
inline std::string ValidUtf8(const std::string& text) {
  const auto replace = nlohmann::json::error_handler_t::replace;
  return nlohmann::json::parse(nlohmann::json(text).dump(-1, ' ', false, replace)).get<std::string>();
}

}  // namespace trainer::telemetry
