#include "data/csv.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace data {
namespace {

absl::Status LineError(int64_t line, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat("line ", line, ": ", what));
}

// Reads one field at a time; where a row ends is for the caller to see.
class Scanner {
 public:
  explicit Scanner(const std::string& text) : text_(text) {
    if (absl::StartsWith(text_, "\xEF\xBB\xBF")) at_ = 3;
  }

  bool done() const { return at_ >= text_.size(); }
  int64_t line() const { return line_; }

  // LF or CRLF.
  bool TakeLineEnd() {
    const size_t length = Is(0, '\n') ? 1 : Is(0, '\r') && Is(1, '\n') ? 2 : 0;
    at_ += length;
    line_ += length > 0;
    return length > 0;
  }

  bool TakeComma() {
    if (!Is(0, ',')) return false;
    ++at_;
    return true;
  }

  absl::StatusOr<std::string> Field() { return Is(0, '"') ? Quoted() : Plain(); }

 private:
  bool Is(size_t ahead, char c) const { return at_ + ahead < text_.size() && text_[at_ + ahead] == c; }
  bool AtFieldEnd() const { return done() || Is(0, ',') || Is(0, '\n') || (Is(0, '\r') && Is(1, '\n')); }

  absl::StatusOr<std::string> Plain() {
    const size_t begin = at_;
    for (; !AtFieldEnd(); ++at_) {
      if (Is(0, '"'))
        return LineError(line_, "a quote inside an unquoted field; quote the field, double the quote");
    }
    return text_.substr(begin, at_ - begin);
  }

  absl::StatusOr<std::string> Quoted() {
    const int64_t opened = line_;
    std::string field;
    ++at_;
    while (true) {
      if (done()) return LineError(opened, "a quote is opened and never closed");
      const char c = text_[at_++];
      if (c == '"') {
        if (!Is(0, '"')) break;
        ++at_;
      }
      line_ += c == '\n';
      field += c;
    }
    if (!AtFieldEnd()) return LineError(line_, "text after a closing quote");
    return field;
  }

  const std::string& text_;
  size_t at_ = 0;
  int64_t line_ = 1;
};

}  // namespace

absl::StatusOr<std::vector<CsvRow>> ParseCsv(const std::string& text) {
  if (text.find('\0') != std::string::npos) {
    return absl::InvalidArgumentError("holds zero bytes: not a CSV file in UTF-8");
  }
  std::vector<CsvRow> rows;
  Scanner scanner(text);
  while (!scanner.done()) {
    if (scanner.TakeLineEnd()) continue;
    CsvRow row;
    row.line = scanner.line();
    do {
      absl::StatusOr<std::string> field = scanner.Field();
      if (!field.ok()) return field.status();
      row.fields.push_back(*std::move(field));
    } while (scanner.TakeComma());
    scanner.TakeLineEnd();
    if (!rows.empty() && row.fields.size() != rows.front().fields.size()) {
      return LineError(row.line, absl::StrCat(row.fields.size(), " fields where the header has ",
                                              rows.front().fields.size()));
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

std::string QuoteCsv(const std::string& field) {
  if (field.find_first_of(",\"\r\n") == std::string::npos) return field;
  return absl::StrCat("\"", absl::StrReplaceAll(field, {{"\"", "\"\""}}), "\"");
}

}  // namespace data
