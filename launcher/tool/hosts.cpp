#include "launcher/tool/hosts.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"

namespace launcher::tool {
namespace {

// Of a hostfile's line; empty where it names none.
std::string HostOfLine(absl::string_view line) {
  line = absl::StripAsciiWhitespace(line.substr(0, line.find('#')));
  line = line.substr(0, line.find_first_of(" \t"));
  if (const auto at = line.find('@'); at != absl::string_view::npos) line.remove_prefix(at + 1);
  return std::string(line.substr(0, line.find(':')));
}

std::string HostOfItem(absl::string_view item) { return std::string(item.substr(0, item.find(':'))); }

template <typename NameOf>
std::vector<std::string> Names(const std::string& text, char separator, NameOf name_of) {
  std::vector<std::string> names;
  for (absl::string_view piece : absl::StrSplit(text, separator)) {
    const std::string name = name_of(piece);
    if (!name.empty() && std::ranges::find(names, name) == names.end()) names.push_back(name);
  }
  return names;
}

template <typename NameOf>
std::string Kept(const std::string& text, char separator, const std::set<std::string>& lost, NameOf name_of) {
  std::vector<absl::string_view> kept;
  for (absl::string_view piece : absl::StrSplit(text, separator)) {
    if (!lost.contains(name_of(piece))) kept.push_back(piece);
  }
  return absl::StrJoin(kept, std::string(1, separator));
}

}  // namespace

std::vector<std::string> HostsInFile(const std::string& text) { return Names(text, '\n', HostOfLine); }
std::vector<std::string> HostsInList(const std::string& list) { return Names(list, ',', HostOfItem); }

std::string FileWithout(const std::string& text, const std::set<std::string>& lost) {
  return Kept(text, '\n', lost, HostOfLine);
}

std::string ListWithout(const std::string& list, const std::set<std::string>& lost) {
  return Kept(list, ',', lost, HostOfItem);
}

}  // namespace launcher::tool
