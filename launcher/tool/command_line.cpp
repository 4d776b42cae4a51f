#include "launcher/tool/command_line.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace launcher::tool {
namespace {

struct OwnOption {
  std::string_view written;
  const char* name;
  bool has_value;
};

constexpr OwnOption kOwn[] = {
    {"np", "np", true},
    {"n", "np", true},
    {"hostfile", "hostfile", true},
    {"machinefile", "hostfile", true},
    {"max-restarts", "max-restarts", true},
    {"min-np", "min-np", true},
    {"backoff", "backoff", true},
    {"help", "help", false},
    {"h", "help", false},
    {"version", "version", false},
};

// Open MPI 4 and 5.
constexpr std::string_view kTwoValues[] = {"mca", "gmca", "omca", "pmixmca", "prtemca", "pmca"};
constexpr std::string_view kOneValue[] = {"H",
                                          "N",
                                          "am",
                                          "bind-to",
                                          "cpu-list",
                                          "cpu-set",
                                          "cpus-per-proc",
                                          "cpus-per-rank",
                                          "default-hostfile",
                                          "display",
                                          "dvm",
                                          "hnp",
                                          "host",
                                          "map-by",
                                          "max-vm-size",
                                          "npernode",
                                          "npersocket",
                                          "ompi-server",
                                          "output",
                                          "output-filename",
                                          "output-proctable",
                                          "path",
                                          "personality",
                                          "ppr",
                                          "prefix",
                                          "preload-files",
                                          "rank-by",
                                          "rankfile",
                                          "report-pid",
                                          "report-uri",
                                          "rf",
                                          "runtime-options",
                                          "server-wait-time",
                                          "slot-list",
                                          "stack-trace-wait-timeout",
                                          "stdin",
                                          "timeout",
                                          "tune",
                                          "wd",
                                          "wdir",
                                          "x",
                                          "xml-file",
                                          "xterm"};

// "--map-by", "-map-by" -> "map-by"
std::string_view NameOf(std::string_view word) {
  word.remove_prefix(std::min(word.find_first_not_of('-'), word.size()));
  return word;
}

size_t ValuesOf(std::string_view name) {
  if (std::ranges::find(kTwoValues, name) != std::end(kTwoValues)) return 2;
  return std::ranges::find(kOneValue, name) != std::end(kOneValue) ? 1 : 0;
}

// Calls visit(name, first, last) for every option, with its place and that behind its last value.
template <typename Visit>
void ForEachOption(const std::vector<std::string>& words, Visit visit) {
  for (size_t i = 0; i < words.size();) {
    const auto name = NameOf(words[i]);
    const size_t end = std::min(i + 1 + ValuesOf(name), words.size());
    visit(name, i, end);
    i = end;
  }
}

}  // namespace

CommandLine SplitCommandLine(const std::vector<std::string>& words) {
  CommandLine line;
  size_t i = 0;
  while (i < words.size() && words[i].starts_with('-')) {
    const std::string& word = words[i++];
    if (word == "--") break;
    const auto name = NameOf(word);
    const auto equals = name.find('=');
    const auto own = std::ranges::find(kOwn, name.substr(0, equals), &OwnOption::written);
    if (own != std::end(kOwn)) {
      if (equals != std::string_view::npos) {
        line.own.push_back(absl::StrCat("--", own->name, word.substr(word.find('='))));
      } else if (own->has_value && i < words.size()) {
        line.own.push_back(absl::StrCat("--", own->name, "=", words[i++]));
      } else {
        line.own.push_back(absl::StrCat("--", own->name));
      }
      continue;
    }
    line.mpirun.push_back(word);
    for (size_t values = ValuesOf(name); values > 0 && i < words.size(); --values) {
      line.mpirun.push_back(words[i++]);
    }
  }
  line.program.assign(words.begin() + static_cast<std::ptrdiff_t>(i), words.end());
  return line;
}

bool SettlesBinding(const std::vector<std::string>& mpirun_words) {
  bool settled = false;
  ForEachOption(mpirun_words, [&](std::string_view name, size_t first, size_t end) {
    settled = settled || name.starts_with("bind-to") || name.starts_with("cpu") || name == "rankfile" ||
              name == "rf" || name == "slot-list";
    for (size_t i = first + 1; i < end; ++i) {
      settled = settled || mpirun_words[i] == "hwloc_base_binding_policy" ||
                (name == "map-by" && absl::StrContains(absl::AsciiStrToLower(mpirun_words[i]), "pe="));
    }
  });
  return settled;
}

std::string ValueOf(const std::vector<std::string>& mpirun_words,
                    const std::vector<std::string_view>& names) {
  std::string value;
  ForEachOption(mpirun_words, [&](std::string_view name, size_t first, size_t end) {
    if (end > first + 1 && std::ranges::find(names, name) != names.end()) value = mpirun_words[first + 1];
  });
  return value;
}

std::vector<std::string> Without(const std::vector<std::string>& mpirun_words,
                                 const std::vector<std::string_view>& names) {
  std::vector<std::string> kept;
  ForEachOption(mpirun_words, [&](std::string_view name, size_t first, size_t end) {
    if (std::ranges::find(names, name) != names.end()) return;
    kept.insert(kept.end(), mpirun_words.begin() + static_cast<std::ptrdiff_t>(first),
                mpirun_words.begin() + static_cast<std::ptrdiff_t>(end));
  });
  return kept;
}

}  // namespace launcher::tool
