// JSON from files that anything may have happened to.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace trainer::report {

// What `text` holds, without what lies nested deeper than any file of a run does: writing it again would go
// as deep into the stack. A discarded value where it is no JSON.
inline nlohmann::json ParseShallow(const std::string& text) {
  constexpr int kDeepest = 32;
  return nlohmann::json::parse(
      text, [](int depth, nlohmann::json::parse_event_t, nlohmann::json&) { return depth < kDeepest; },
      /*allow_exceptions=*/false);
}

}  // namespace trainer::report
