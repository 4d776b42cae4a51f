#include "launcher/tool/mpirun_words.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace launcher::tool {
namespace {

constexpr size_t kLongestLine = 240;

bool IsRule(std::string_view line) {
  return line.size() >= 40 && line.find_first_not_of('-') == std::string_view::npos;
}

// mpirun and its daemons begin "mpirun: " or "[node7:1234] ".
bool IsFromMpirun(const std::string& line) {
  if (line.starts_with("mpirun: ")) return true;
  const size_t end = line.find("] ");
  const size_t colon = line.rfind(':', end);
  if (!line.starts_with('[') || end == std::string::npos || colon == std::string::npos) return false;
  return colon + 1 < end && line.find_first_not_of("0123456789", colon + 1) == end;
}

// "rank 3" and no more
bool IsOnlyARank(const std::string& words) {
  constexpr size_t kDigits = std::string_view("rank ").size();
  return words.starts_with("rank ") && words.size() > kDigits &&
         words.find_first_not_of("0123456789", kDigits) == std::string::npos;
}

// What follows the last `mark` in the line, up to one of `ends`; empty where there is no mark.
std::string After(const std::string& line, const std::string& mark, const char* ends) {
  const size_t found = line.rfind(mark);
  if (found == std::string::npos) return "";
  const size_t begin = found + mark.size();
  return line.substr(begin, line.find_first_of(ends, begin) - begin);
}

// Who failed, as Open MPI says in one line of a box drawn of dashes; empty where it says something else.
std::string ReadBoxLine(const std::string& line) {
  if (const auto rank = After(line, "mpirun noticed that process rank ", " "); !rank.empty()) {
    return absl::StrCat("rank ", rank, " on ", After(line, " on node ", " "), ", signal ",
                        After(line, " exited on signal ", "."));
  }
  if (absl::StrContains(line, "Process name: [[")) return absl::StrCat("rank ", After(line, "],", "]"));
  if (const auto rank = After(line, "MPI_ABORT was invoked on rank ", " "); !rank.empty()) {
    return absl::StrCat("rank ", rank);
  }
  if (absl::StrContains(line, "Remote daemon: ")) {
    return absl::StrCat("host ", After(line, " on node ", " "), " is lost");
  }
  if (absl::StrContains(line, "not enough slots")) return "mpirun: not enough slots";
  if (absl::StrContains(line, "unable to reliably start one or more daemons")) {
    return "mpirun: a host cannot be reached";
  }
  return "";
}

}  // namespace

std::string FindCulprit(std::string_view standard_error) {
  std::string named;
  std::string last_words;
  bool in_box = false;
  for (const absl::string_view piece :
       absl::StrSplit(absl::string_view(standard_error.data(), standard_error.size()), '\n')) {
    const std::string line(absl::StripAsciiWhitespace(piece.substr(0, kLongestLine)));
    if (IsRule(line)) {
      in_box = !in_box;
    } else if (in_box) {
      if (named.empty()) named = ReadBoxLine(line);
    } else if (!line.empty() && !IsFromMpirun(line)) {
      last_words = line;
    }
  }
  for (char& letter : last_words) {
    if (absl::ascii_iscntrl(static_cast<unsigned char>(letter))) letter = ' ';
  }
  // The first to end may do so because of another rank, which the message names: "rank 3 on node7 has made no
  // progress".
  if (IsOnlyARank(named) && IsOnlyARank(last_words.substr(0, last_words.find(" on ")))) return last_words;
  if (named.empty() || last_words.empty()) return absl::StrCat(named, last_words);
  return absl::StrCat(named, ": ", last_words);
}

}  // namespace launcher::tool
