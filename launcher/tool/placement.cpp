#include "launcher/tool/placement.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "launcher/tool/command_line.h"
#include "launcher/tool/hosts.h"
#include "launcher/tool/restart_policy.h"

namespace launcher::tool {
namespace {

constexpr double kProbeSeconds = 30;

std::vector<std::string> Words(const std::string& hostfile, const std::string& host_list,
                               const std::vector<std::string>& others) {
  std::vector<std::string> words;
  if (!hostfile.empty()) words.insert(words.end(), {"--hostfile", hostfile});
  if (!host_list.empty()) words.insert(words.end(), {"--host", host_list});
  words.insert(words.end(), others.begin(), others.end());
  return words;
}

}  // namespace

Placer::~Placer() {
  if (!temporary_.empty()) unlink(temporary_.c_str());
}

absl::StatusOr<Placement> Placer::Place(const RunConfig& config) {
  const Settings& s = settings_;
  Placement placement{s.ranks, Words(s.hostfile, "", s.mpirun_words), {}};
  const auto possible = PossibleRanks(s.ranks, s.least_ranks, config.global_batch, config.accumulate);
  // A number that cannot be from the beginning is an error, which the trainer explains.
  if (s.least_ranks == 0 || possible.empty() || possible.front() != s.ranks) return placement;

  std::string file_text;
  if (!s.hostfile.empty()) {
    std::ifstream file(s.hostfile);
    file_text.assign(std::istreambuf_iterator<char>(file), {});
  }
  const std::string list = ValueOf(s.mpirun_words, {"host", "H"});
  const auto others = Without(s.mpirun_words, {"host", "H"});
  std::set<std::string> hosts;
  for (const auto& names : {HostsInFile(file_text), HostsInList(list)})
    hosts.insert(names.begin(), names.end());

  std::vector<std::vector<std::string>> commands;
  const auto add = [&](int ranks, const std::vector<std::string>& words) {
    auto& command = commands.emplace_back(std::vector<std::string>{s.mpirun, "-np", absl::StrCat(ranks)});
    command.insert(command.end(), words.begin(), words.end());
    command.emplace_back("true");
  };
  for (const auto& host : hosts) add(1, Words(s.hostfile, host, others));
  const auto answers = Try(commands);
  if (!answers.ok()) return answers.status();
  size_t i = 0;
  for (const auto& host : hosts) {
    if (!(*answers)[i++]) placement.lost_hosts.push_back(host);
  }
  const std::string lost_names = absl::StrJoin(placement.lost_hosts, ", ");
  if (!hosts.empty() && placement.lost_hosts.size() == hosts.size()) {
    return absl::UnavailableError(absl::StrCat("no host can be reached: ", lost_names));
  }
  if (!placement.lost_hosts.empty()) {
    const std::set<std::string> lost(placement.lost_hosts.begin(), placement.lost_hosts.end());
    if (!s.hostfile.empty()) {
      if (const auto status = WriteHostfile(FileWithout(file_text, lost)); !status.ok()) return status;
    }
    placement.mpirun_words = Words(s.hostfile.empty() ? "" : temporary_, ListWithout(list, lost), others);
  }
  for (const int ranks : possible) {
    commands.clear();
    add(ranks, placement.mpirun_words);
    const auto fits = Try(commands);
    if (!fits.ok()) return fits.status();
    if (fits->front()) {
      placement.ranks = ranks;
      return placement;
    }
  }
  return absl::UnavailableError(absl::StrCat("there is no room for ", possible.back(), " ranks (--min-np ",
                                             s.least_ranks, ")",
                                             lost_names.empty() ? "" : "; not reached: ", lost_names));
}

absl::StatusOr<std::vector<bool>> Placer::Try(const std::vector<std::vector<std::string>>& commands) {
  const auto start = std::chrono::steady_clock::now();
  std::vector<bool> worked(commands.size(), false);
  std::map<pid_t, size_t> running;
  absl::Status status;
  for (size_t i = 0; i < commands.size() && status.ok(); ++i) {
    const auto child =
        processes_.Start(commands[i], {.out = Stream::kDiscard, .err = Stream::kDiscard, .folder = ""});
    status = child.status();
    if (child.ok()) running[child->pid] = i;
  }
  while (status.ok() && !running.empty()) {
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    const Event event = processes_.Next(std::max(0.0, kProbeSeconds - taken.count()));
    if (event.kind == Event::kTimeout) break;
    if (event.kind == Event::kSignal) status = absl::CancelledError(absl::StrCat("signal ", event.signal));
    if (const auto ended = running.find(event.pid);
        event.kind == Event::kChildEnded && ended != running.end()) {
      worked[ended->second] = event.exit_code == 0;
      running.erase(ended);
    }
  }
  for (const auto& [pid, index] : running) kill(pid, SIGTERM);
  processes_.EndAll(/*grace_seconds=*/running.empty() ? 0 : 2);
  if (!status.ok()) return status;
  return worked;
}

absl::Status Placer::WriteHostfile(const std::string& text) {
  if (temporary_.empty()) {
    std::error_code error;
    const auto folder = std::filesystem::temp_directory_path(error);
    std::string path = (folder / "launcher-hosts-XXXXXX").string();
    const int fd = error ? -1 : mkstemp(path.data());
    if (fd < 0) return absl::InternalError(absl::StrCat("cannot make ", path, ": ", std::strerror(errno)));
    close(fd);
    temporary_ = path;
  }
  std::ofstream file(temporary_, std::ios::trunc);
  file << text << std::flush;
  return file ? absl::OkStatus()
              : absl::InternalError(absl::StrCat("cannot write ", temporary_, "; is the disk full?"));
}

}  // namespace launcher::tool
