// What the report shows, as one JSON document: the whole of what the page's script is given.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "trainer/report/evaluation_reader.h"
#include "trainer/report/run_reader.h"

namespace trainer::report {

struct ReportedRun {
  Run run;
  std::optional<Evaluation> evaluation;
  std::string evaluation_note;  // why there is none, or what is wrong with it; "" where all is well
};

// {"version", "created_unix_seconds", "runs": [{"label", "folder", "curves", "phases", ...}], "config":
// [...]} in the order of `runs`, of which there is at least one. Its size does not grow with the runs'
// lengths, and with their number only beyond some ten. Strings may hold bytes that are not UTF-8.
nlohmann::ordered_json BuildDocument(const std::vector<ReportedRun>& runs, const std::string& version,
                                     int64_t created_unix_seconds);

// A short name for each folder, all different: as many of its last components as that takes.
// ("runs/a/seed1", "runs/b/seed1") -> ("a/seed1", "b/seed1").
std::vector<std::string> Labels(const std::vector<std::string>& folders);

}  // namespace trainer::report
