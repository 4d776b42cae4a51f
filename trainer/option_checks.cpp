#include "trainer/option_checks.h"

#include <cmath>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace trainer {

CLI::Validator WholeNumber(int64_t low, int64_t high) {
  const std::string range = absl::StrCat("from ", low, " to ", high);
  return CLI::Validator(
      [=](std::string& text) -> std::string {
        int64_t value = 0;
        if (absl::SimpleAtoi(text, &value) && value >= low && value <= high) return "";
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
