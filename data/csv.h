#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace data {

struct CsvRow {
  int64_t line = 0;  // where the row begins, counted from 1
  std::vector<std::string> fields;
};

// Splits comma-separated text (RFC 4180) into rows, the header being the first one: fields may be quoted,
// quotes inside doubled, quoted fields may hold commas and line ends. Rows end with LF or CRLF; empty lines
// and a byte-order mark are left out. Every row has as many fields as the header. kInvalidArgument: "line 7:
// <what is wrong>".
absl::StatusOr<std::vector<CsvRow>> ParseCsv(const std::string& text);

// The field as it stands in a CSV file: quoted where that is needed.
std::string QuoteCsv(const std::string& field);

}  // namespace data
