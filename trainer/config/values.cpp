#include "trainer/config/values.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace trainer::config {
namespace {

absl::Status Wrong(const std::string& what) { return absl::InvalidArgumentError(what); }

std::string Quoted(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string Number(double value) { return nlohmann::json(value).dump(); }

// Bounds are mostly whole numbers, which read better without ".0".
std::string Bound(double value) {
  return value == std::floor(value) && std::abs(value) < 1e15 ? absl::StrCat(static_cast<int64_t>(value))
                                                              : Number(value);
}

std::string Written(const RawValue& raw) {
  if (raw.is_list) return absl::StrCat("[", absl::StrJoin(raw.items, ", "), "]");
  return raw.quoted ? Quoted(raw.items.front()) : absl::StrCat("'", raw.items.front(), "'");
}

absl::Status NotA(const RawValue& raw, const char* type) {
  if (!raw.is_list && raw.items.front().empty()) return Wrong(absl::StrCat("has no value; give ", type));
  return Wrong(absl::StrCat(Written(raw), " is not ", type));
}

absl::Status CheckBounds(const std::string& text, double value, const Rule& rule) {
  const bool low = rule.excludes_min ? value <= rule.min : value < rule.min;
  const bool high = rule.excludes_max ? value >= rule.max : value > rule.max;
  if (low || high) return Wrong(absl::StrCat(text, " is not allowed; it must be ", rule.Describe()));
  return absl::OkStatus();
}

absl::Status SetNumber(const std::string& text, const Rule& rule, double* value) {
  double parsed = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, parsed);
  if (error == std::errc::result_out_of_range) return Wrong(absl::StrCat(text, " does not fit a double"));
  if (error != std::errc() || stop != end || !std::isfinite(parsed)) {
    return Wrong(absl::StrCat("'", text, "' is not a finite number; give one, such as 1e-3"));
  }
  if (absl::Status status = CheckBounds(text, parsed, rule); !status.ok()) return status;
  *value = parsed;
  return absl::OkStatus();
}

// Letters added, dropped, changed, or swapped with their neighbour.
int64_t EditDistance(const std::string& a, const std::string& b) {
  std::vector<std::vector<int64_t>> distance(a.size() + 1, std::vector<int64_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) {
    for (size_t j = 0; j <= b.size(); ++j) {
      if (i == 0 || j == 0) {
        distance[i][j] = static_cast<int64_t>(i + j);
        continue;
      }
      const int64_t changed = distance[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      distance[i][j] = std::min({changed, distance[i - 1][j] + 1, distance[i][j - 1] + 1});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        distance[i][j] = std::min(distance[i][j], distance[i - 2][j - 2] + 1);
      }
    }
  }
  return distance[a.size()][b.size()];
}

std::string Leaf(const std::string& key) { return key.substr(key.rfind('.') + 1); }

}  // namespace

std::string Rule::Describe() const {
  if (!choices.empty()) return absl::StrCat("one of ", absl::StrJoin(choices, ", "));
  if (!numbers.empty()) return absl::StrCat("one of ", absl::StrJoin(numbers, ", "));
  const bool has_min = std::isfinite(min);
  const bool has_max = std::isfinite(max);
  if (has_min && has_max) {
    return absl::StrCat("in ", excludes_min ? "(" : "[", Bound(min), ", ", Bound(max),
                        excludes_max ? ")" : "]");
  }
  if (has_min) return absl::StrCat(excludes_min ? "> " : ">= ", Bound(min));
  if (has_max) return absl::StrCat(excludes_max ? "< " : "<= ", Bound(max));
  return "";
}

absl::Status Set(const RawValue& raw, const Rule&, bool* value) {
  if (raw.is_list || raw.quoted || (raw.items[0] != "true" && raw.items[0] != "false")) {
    return NotA(raw, "true or false");
  }
  *value = raw.items[0] == "true";
  return absl::OkStatus();
}

absl::Status Set(const RawValue& raw, const Rule& rule, int64_t* value) {
  if (raw.is_list || raw.quoted) return NotA(raw, "a whole number");
  const std::string& text = raw.items[0];
  int64_t parsed = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, parsed);
  if (error == std::errc::result_out_of_range && stop == end) {
    return Wrong(absl::StrCat(text, " does not fit 64 bits"));
  }
  if (error != std::errc() || stop != end) return NotA(raw, "a whole number");
  if (absl::Status status = CheckBounds(text, static_cast<double>(parsed), rule); !status.ok()) return status;
  if (!rule.numbers.empty() &&
      std::find(rule.numbers.begin(), rule.numbers.end(), parsed) == rule.numbers.end()) {
    return Wrong(absl::StrCat(text, " is not allowed; it must be ", rule.Describe()));
  }
  *value = parsed;
  return absl::OkStatus();
}

absl::Status Set(const RawValue& raw, const Rule& rule, double* value) {
  if (raw.is_list || raw.quoted || raw.items[0].empty()) return NotA(raw, "a number");
  return SetNumber(raw.items[0], rule, value);
}

absl::Status Set(const RawValue& raw, const Rule& rule, std::string* value) {
  if (raw.is_list) return NotA(raw, "a string");
  const std::string& text = raw.items[0];
  if (!rule.choices.empty() &&
      std::find(rule.choices.begin(), rule.choices.end(), text) == rule.choices.end()) {
    const std::string near = Nearest(text, rule.choices);
    return Wrong(absl::StrCat(Written(raw), " is not ", rule.Describe(),
                              near.empty() ? "" : absl::StrCat("; did you mean ", near, "?")));
  }
  // Later on the value goes into JSON, which has no way to hold other bytes.
  try {
    (void)nlohmann::json(text).dump();
  } catch (const nlohmann::json::exception&) {
    return Wrong(absl::StrCat(Quoted(text), " is not valid UTF-8"));
  }
  *value = text;
  return absl::OkStatus();
}

absl::Status Set(const RawValue& raw, const Rule& rule, std::array<double, 2>* value) {
  if (!raw.is_list || raw.items.size() != value->size())
    return NotA(raw, "a list of two numbers, as in [0.9, 0.98]");
  std::array<double, 2> parsed{};
  for (size_t i = 0; i < parsed.size(); ++i) {
    if (absl::Status status = SetNumber(raw.items[i], rule, &parsed[i]); !status.ok()) return status;
  }
  *value = parsed;
  return absl::OkStatus();
}

std::string Print(const nlohmann::json& value) {
  if (!value.is_string()) return value.dump();
  const std::string& text = value.get_ref<const std::string&>();
  const auto is_letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  const auto is_plain = [&](char c) {
    return is_letter(c) || (c >= '0' && c <= '9') || c == '_' || c == '/' || c == '.' || c == '-';
  };
  const bool plain = !text.empty() && (is_letter(text[0]) || text[0] == '/') &&
                     std::all_of(text.begin(), text.end(), is_plain) && text != "null" && text != "Null" &&
                     text != "NULL";
  if (plain) return text;
  std::string quoted = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      quoted += {'\\', c};
    } else if (byte < 0x20 || byte == 0x7f) {
      constexpr char kDigits[] = "0123456789abcdef";
      quoted += {'\\', 'x', kDigits[byte >> 4], kDigits[byte & 15]};
    } else {
      quoted += c;
    }
  }
  return quoted + '"';
}

std::string Nearest(const std::string& word, const std::vector<std::string>& candidates) {
  if (word.size() > 100) return "";
  // A third of the word may be wrong; beyond that a guess misleads.
  int64_t best = std::max<int64_t>(1, static_cast<int64_t>(word.size()) / 3) + 1;
  std::string nearest;
  for (const std::string& candidate : candidates) {
    int64_t distance = EditDistance(word, candidate);
    // A name in the wrong section, or with none: compare the names, and count the section as one mistake.
    const std::string leaf = Leaf(word);
    const int64_t leaf_limit = static_cast<int64_t>(leaf.size()) / 3;
    const int64_t leaf_distance = EditDistance(leaf, Leaf(candidate));
    if (leaf_distance <= leaf_limit) distance = std::min(distance, leaf_distance + 1);
    if (distance < best) {
      best = distance;
      nearest = candidate;
    }
  }
  return nearest;
}

}  // namespace trainer::config
