// What a preflight found, for people and for scripts.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace trainer::preflight {

enum class Level {
  kOk,
  kWarning,  // the run would start, but something is worth looking at
  kError,    // the run could not start as it is
};

const char* LevelName(Level level);  // "ok", "warning", "error"

struct Finding {
  Level level = Level::kOk;
  std::string section;
  std::string text;    // one line
  std::string advice;  // what to do about it; empty where nothing is to be done
};

// Rank 0's counts; what other ranks add to theirs is never shown. One thread.
class Report {
 public:
  // Findings that follow belong to this section.
  void Begin(const std::string& section) { section_ = section; }

  void Ok(const std::string& text) { Add(Level::kOk, text, ""); }
  void Warn(const std::string& text, const std::string& advice) { Add(Level::kWarning, text, advice); }
  void Error(const std::string& text, const std::string& advice) { Add(Level::kError, text, advice); }
  // A status' one line says what to do itself. Nothing where it is OK.
  void Error(const absl::Status& status);

  const std::vector<Finding>& findings() const { return findings_; }
  int64_t Count(Level level) const;

  // Numbers for scripts, by section; docs/preflight.md lists them.
  nlohmann::ordered_json& figures(const std::string& section) { return figures_[section]; }
  const nlohmann::ordered_json& all_figures() const { return figures_; }

 private:
  void Add(Level level, const std::string& text, const std::string& advice);

  std::string section_;
  std::vector<Finding> findings_;
  nlohmann::ordered_json figures_ = nlohmann::ordered_json::object();
};

// A line a finding, level first, under the names of the sections, which come in the order in which they first
// came up; each line ends with '\n'.
std::string ToText(const Report& report);

// {"format_version", "result", "errors", "warnings", "findings": [...], and the sections' figures}.
nlohmann::ordered_json ToJson(const Report& report);

}  // namespace trainer::preflight
