#include "trainer/option_checks.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace trainer {

CLI::Validator WholeNumber(int64_t low, int64_t high) {
  const std::string range = absl::StrCat("from ", low, " to ", high);
  return CLI::Validator(
      [=](std::string& text) -> std::string {
        // Nothing that CLI11, which reads it next, would take for octal.
        const bool plain = !text.empty() && std::all_of(text.begin(), text.end(), absl::ascii_isdigit) &&
                           (text[0] != '0' || text.size() == 1);
        int64_t value = 0;
        if (plain && absl::SimpleAtoi(text, &value) && value >= low && value <= high) return "";
        return absl::StrCat("'", text, "' is no whole number ", range);
      },
      absl::StrCat("whole number ", range));
}

CLI::Validator Seconds() {
  return CLI::Validator(
      [](std::string& text) -> std::string {
        double value = 0;
        if (absl::SimpleAtod(text, &value) && std::isfinite(value) && value >= 0) return "";
        return absl::StrCat("'", text, "' is no number of seconds, 0 or more");
      },
      "seconds");
}

CLI::Validator NotEmpty() {
  return CLI::Validator(
      [](std::string& text) -> std::string { return text.empty() ? "is empty; name something" : ""; }, "");
}

}  // namespace trainer
