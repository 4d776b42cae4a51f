#include "launcher/tool/run_folder.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <system_error>

#include "absl/strings/str_cat.h"

namespace launcher::tool {
namespace {

namespace fs = std::filesystem;

// More than a few lines of any file are never needed.
constexpr int64_t kMostBytes = 1 << 20;
constexpr int64_t kBeginBytes = 256;  // by which a file is known again: they hold a time

// Up to `most` bytes from `offset` on, or to the end where that is negative; empty where there is nothing.
// What it finds is what opening the file finds: over NFS, sizes alone may be old.
std::string Read(const fs::path& path, int64_t offset, int64_t most = kMostBytes) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  const auto size = static_cast<int64_t>(file.tellg());
  if (!file || size <= offset) return "";
  if (offset < 0) offset = std::max<int64_t>(0, size - most);
  std::string bytes(static_cast<size_t>(std::min(size - offset, most)), '\0');
  file.seekg(offset);
  file.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  bytes.resize(static_cast<size_t>(std::max<std::streamsize>(file.gcount(), 0)));
  return bytes;
}

// `key` of the last complete line that is a JSON object with it; -1 where there is none.
int64_t LastNumber(const std::string& lines, const char* key) {
  for (size_t end = lines.rfind('\n'); end != std::string::npos && end > 0;) {
    const size_t before = lines.rfind('\n', end - 1);
    const size_t begin = before == std::string::npos ? 0 : before + 1;
    const auto json =
        nlohmann::json::parse(lines.substr(begin, end - begin), nullptr, /*allow_exceptions=*/false);
    if (json.is_object() && json.contains(key) && json[key].is_number_integer())
      return json[key].get<int64_t>();
    end = before;
  }
  return -1;
}

// The trainer's log says "first step (41) done ..." as soon as it is; other traces may be many steps apart.
int64_t FirstStep(const std::string& log) {
  constexpr std::string_view kBefore = "first step (";
  const size_t found = log.find(kBefore);
  if (found == std::string::npos) return 0;
  int64_t step = 0;
  const char* digits = log.data() + found + kBefore.size();
  std::from_chars(digits, log.data() + log.size(), step);
  return step;
}

}  // namespace

absl::StatusOr<RunConfig> ReadRunConfig(const std::string& yaml) {
  try {
    const YAML::Node root = YAML::Load(yaml);
    RunConfig config;
    config.dir = root["run"]["dir"].as<std::string>();
    config.global_batch = root["train"]["global_batch"].as<int64_t>();
    config.accumulate = root["train"]["accumulate"].as<int64_t>();
    if (!config.dir.empty() && config.global_batch >= 1 && config.accumulate >= 1) return config;
  } catch (const YAML::Exception&) {
    // Said below: it is not what the trainer prints.
  }
  return absl::InvalidArgumentError("no run.dir, train.global_batch and train.accumulate in it");
}

RunFolder::Mark RunFolder::MarkOf(const std::string& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  const auto size = static_cast<int64_t>(file.tellg());
  return file ? Mark{size, Read(path, 0, kBeginBytes)} : Mark{};
}

std::string RunFolder::Since(const Mark& mark, const std::string& path) {
  const bool is_the_same = Read(path, 0, kBeginBytes).starts_with(mark.begin);
  return Read(path, is_the_same ? mark.size : 0);
}

void RunFolder::MarkStart() {
  starts_ = MarkOf(path_ + "/starts.jsonl");
  log_ = MarkOf(path_ + "/train.log");
  checkpoints_ = Checkpoints();
}

Progress RunFolder::SinceMark() const {
  Progress progress;
  const fs::path folder = path_;
  const int64_t from_step = LastNumber(Since(starts_, path_ + "/starts.jsonl"), "from_step");
  if (from_step < 0) return progress;
  progress.ranks_are_up = true;
  progress.from_step = from_step;
  // metrics.jsonl has been cut to end at from_step by now.
  const int64_t logged = LastNumber(Read(folder / "metrics.jsonl", -1), "step");
  const int64_t first = FirstStep(Since(log_, path_ + "/train.log"));
  progress.saved_step = from_step;
  for (const auto& [step, changed] : Checkpoints()) {
    const auto before = checkpoints_.find(step);
    const bool is_new = before == checkpoints_.end() || before->second != changed;
    if (is_new) progress.saved_step = std::max(progress.saved_step, step);
  }
  progress.step = std::max({progress.saved_step, logged, first});
  return progress;
}

int64_t RunFolder::NewestCheckpoint() const {
  const auto all = Checkpoints();
  return all.empty() ? 0 : all.rbegin()->first;
}

std::map<int64_t, int64_t> RunFolder::Checkpoints() const {
  constexpr std::string_view kPrefix = "step-";
  std::map<int64_t, int64_t> found;
  std::error_code error;
  for (fs::directory_iterator entry(fs::path(path_) / "checkpoints", error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename();
    int64_t step = 0;
    if (!name.starts_with(kPrefix) ||
        std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), step).ptr !=
            name.data() + name.size()) {
      continue;
    }
    std::error_code gone;
    const auto changed = fs::last_write_time(entry->path() / "state.json", gone);
    if (!gone) found[step] = changed.time_since_epoch().count();
  }
  return found;
}

}  // namespace launcher::tool
