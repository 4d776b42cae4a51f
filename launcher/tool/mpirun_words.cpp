#include "launcher/tool/mpirun_words.h"

#include <regex>
#include <vector>

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

// The interpreter's job control speaks like this, and mpirun and its daemons of themselves.
bool IsFromMpirun(const std::string& line) {
  static const std::regex own(R"(^(mpirun: |\[[^\]]+:\d+\] ))");
  return std::regex_search(line, own);
}

// What Open MPI says in a box drawn of dashes.
std::string ReadBox(const std::vector<std::string>& lines) {
  static const std::regex by_signal(
      R"(process rank (\d+) with PID \d+ on node (\S+) exited on signal (\d+ ?\([^)]*\)|\d+))");
  static const std::regex by_code(R"(Process name: \[\[\d+,\d+\],(\d+)\])");
  static const std::regex by_abort(R"(MPI_ABORT was invoked on rank (\d+))");
  static const std::regex daemon(R"(Remote daemon: .* on node (\S+))");
  std::smatch match;
  for (const auto& line : lines) {
    if (std::regex_search(line, match, by_signal)) {
      return absl::StrCat("rank ", match.str(1), " on ", match.str(2), ", signal ", match.str(3));
    }
    if (std::regex_search(line, match, by_code) || std::regex_search(line, match, by_abort)) {
      return absl::StrCat("rank ", match.str(1));
    }
    if (std::regex_search(line, match, daemon)) return absl::StrCat("host ", match.str(1), " is lost");
    if (absl::StrContains(line, "not enough slots")) return "mpirun: not enough slots";
    if (absl::StrContains(line, "unable to reliably start one or more daemons")) {
      return "mpirun: a host cannot be reached";
    }
  }
  return "";
}

}  // namespace

std::string FindCulprit(std::string_view standard_error) {
  std::string named;
  std::string last_words;
  std::vector<std::string> box;
  bool in_box = false;
  for (const absl::string_view piece :
       absl::StrSplit(absl::string_view(standard_error.data(), standard_error.size()), '\n')) {
    const std::string line(absl::StripAsciiWhitespace(piece.substr(0, kLongestLine)));
    if (IsRule(line)) {
      if (in_box && named.empty()) named = ReadBox(box);
      in_box = !in_box;
      box.clear();
    } else if (in_box) {
      box.push_back(line);
    } else if (!line.empty() && !IsFromMpirun(line)) {
      last_words = line;
    }
  }
  for (char& letter : last_words) {
    if (absl::ascii_iscntrl(static_cast<unsigned char>(letter))) letter = ' ';
  }
  if (named.empty() || last_words.empty()) return absl::StrCat(named, last_words);
  return absl::StrCat(named, ": ", last_words);
}

}  // namespace launcher::tool
