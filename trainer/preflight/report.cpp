#include "trainer/preflight/report.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace trainer::preflight {

const char* LevelName(Level level) {
  switch (level) {
    case Level::kOk:
      return "ok";
    case Level::kWarning:
      return "warning";
    case Level::kError:
      return "error";
  }
  return "";
}

void Report::Error(const absl::Status& status) {
  if (!status.ok()) Error(std::string(status.message()), "");
}

int64_t Report::Count(Level level) const {
  return std::count_if(findings_.begin(), findings_.end(),
                       [level](const Finding& finding) { return finding.level == level; });
}

void Report::Add(Level level, const std::string& text, const std::string& advice) {
  findings_.push_back({level, section_, text, advice});
}

std::string ToText(const Report& report) {
  std::vector<std::string> sections;  // in the order in which they first came up
  for (const auto& finding : report.findings()) {
    if (std::find(sections.begin(), sections.end(), finding.section) == sections.end()) {
      sections.push_back(finding.section);
    }
  }
  std::string text;
  for (const auto& section : sections) {
    absl::StrAppend(&text, text.empty() ? "" : "\n", "== ", section, "\n");
    for (const auto& finding : report.findings()) {
      if (finding.section != section) continue;
      absl::StrAppendFormat(&text, "%-8s %s%s%s\n", LevelName(finding.level), finding.text,
                            finding.advice.empty() ? "" : "; ", finding.advice);
    }
  }
  return text;
}

nlohmann::ordered_json ToJson(const Report& report) {
  const auto errors = report.Count(Level::kError);
  const auto warnings = report.Count(Level::kWarning);
  auto findings = nlohmann::ordered_json::array();
  for (const auto& finding : report.findings()) {
    findings.push_back({{"level", LevelName(finding.level)},
                        {"section", finding.section},
                        {"text", finding.text},
                        {"advice", finding.advice}});
  }
  nlohmann::ordered_json json = {
      {"format_version", 1},
      {"result", LevelName(errors > 0     ? Level::kError
                           : warnings > 0 ? Level::kWarning
                                          : Level::kOk)},
      {"errors", errors},
      {"warnings", warnings},
      {"findings", std::move(findings)},
  };
  for (const auto& [section, figures] : report.all_figures().items()) json[section] = figures;
  return json;
}

}  // namespace trainer::preflight
