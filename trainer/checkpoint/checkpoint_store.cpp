#include "trainer/checkpoint/checkpoint_store.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <set>
#include <span>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "data/files.h"
#include "data/status_macros.h"
#include "trainer/checkpoint/file_io.h"
#include "trainer/checkpoint/state_file.h"

namespace trainer::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr char kTemporary[] = ".tmp-";
constexpr char kStepPrefix[] = "step-";

std::string StepName(int64_t step) { return absl::StrFormat("%s%08d", kStepPrefix, step); }

// The inverse; nullopt for any other name.
std::optional<int64_t> ParseStepName(const std::string& name) {
  if (!absl::StartsWith(name, kStepPrefix)) return std::nullopt;
  int64_t step = 0;
  const char* end = name.data() + name.size();
  const auto [stop, error] = std::from_chars(name.data() + sizeof(kStepPrefix) - 1, end, step);
  if (error != std::errc() || stop != end || step < 0 || StepName(step) != name) return std::nullopt;
  return step;
}

std::span<const char> Bytes(const std::string& text) { return {text.data(), text.size()}; }

absl::Status WithContext(const absl::Status& status, const std::string& before, const std::string& after) {
  return absl::Status(status.code(), absl::StrCat(before, std::string(status.message()), after));
}

absl::StatusOr<std::string> ReadPart(const fs::path& path) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return absl::DataLossError(absl::StrCat(path.string(), ": is missing"));
  return data::ReadFile(path.string());
}

absl::StatusOr<NamedTensors> ReadTensors(const fs::path& path, uint64_t checksum) {
  ASSIGN_OR_RETURN(const std::string bytes, ReadPart(path));
  if (const uint64_t actual = ChecksumOf({Bytes(bytes)}); actual != checksum) {
    return absl::DataLossError(absl::StrCat(path.string(), ": damaged: its checksum is ", Hex(actual),
                                            ", not ", Hex(checksum), " as state.json says"));
  }
  ASSIGN_OR_RETURN(Safetensors file, ParseSafetensors(Bytes(bytes), path.string()));
  return std::move(file.tensors);
}

// What is saved, ready to be written.
struct Encoded {
  EncodedSafetensors model;
  EncodedSafetensors optimizer;
  std::string state;
  StateFile checksums;
};

absl::StatusOr<Encoded> Encode(int64_t step, const Snapshot& snapshot, bool is_best) {
  Encoded encoded;
  ASSIGN_OR_RETURN(encoded.model, EncodeSafetensors(snapshot.model, {{"format", "pt"}}));
  ASSIGN_OR_RETURN(encoded.optimizer, EncodeSafetensors(snapshot.optimizer, {{"format", "pt"}}));
  encoded.checksums = {snapshot.state, is_best, encoded.model.Checksum(), encoded.optimizer.Checksum()};
  ASSIGN_OR_RETURN(encoded.state, EncodeState(encoded.checksums, step));
  return encoded;
}

// Whether `folder` is a valid checkpoint of this very content. state.json vouches for the tensors' checksums.
bool Holds(const fs::path& folder, const Encoded& encoded) {
  const absl::StatusOr<std::string> state = ReadPart(folder / kStateFile);
  if (!state.ok() || *state != encoded.state) return false;
  const auto matches = [&](const char* file, uint64_t checksum) {
    const absl::StatusOr<std::string> bytes = ReadPart(folder / file);
    return bytes.ok() && ChecksumOf({Bytes(*bytes)}) == checksum;
  };
  return matches(kModelFile, encoded.checksums.model_checksum) &&
         matches(kOptimizerFile, encoded.checksums.optimizer_checksum);
}

absl::Status WriteFolder(const std::string& folder, const Encoded& encoded) {
  RETURN_IF_ERROR(MakeFolders(folder));
  RETURN_IF_ERROR(WriteSynced(absl::StrCat(folder, "/", kModelFile), encoded.model.Pieces()));
  RETURN_IF_ERROR(WriteSynced(absl::StrCat(folder, "/", kOptimizerFile), encoded.optimizer.Pieces()));
  RETURN_IF_ERROR(WriteSynced(absl::StrCat(folder, "/", kStateFile), {Bytes(encoded.state)}));
  return data::SyncFolder(folder);
}

void RemoveQuietly(const fs::path& path) {
  std::error_code ignored;
  fs::remove_all(path, ignored);
}

}  // namespace

CheckpointStore::CheckpointStore(std::string run_dir, int64_t keep)
    : folder_((fs::path(std::move(run_dir)) / "checkpoints").string()), keep_(std::max<int64_t>(keep, 1)) {}

absl::Status CheckpointStore::Save(int64_t step, const Snapshot& snapshot, bool is_best) {
  const std::string before = absl::StrCat("checkpoint of step ", step, " not saved: ");
  if (step < 0) return absl::InvalidArgumentError(absl::StrCat(before, "a step cannot be negative"));
  const absl::StatusOr<Encoded> encoded = Encode(step, snapshot, is_best);
  if (!encoded.ok()) return WithContext(encoded.status(), before, "");
  const std::string target = absl::StrCat(folder_, "/", StepName(step));
  const std::string temporary = absl::StrCat(folder_, "/", kTemporary, StepName(step));
  const auto check_owner = [&] {
    return !is_ours_ || is_ours_()
               ? absl::OkStatus()
               : absl::FailedPreconditionError("the run folder was deleted, moved or taken by another run");
  };
  const auto save = [&]() -> absl::Status {
    RETURN_IF_ERROR(check_owner());
    RETURN_IF_ERROR(MakeFolders(folder_));
    RemoveLeftovers();
    RETURN_IF_ERROR(FinishInterrupted());
    if (!Holds(target, *encoded)) {
      RETURN_IF_ERROR(WriteFolder(temporary, *encoded));
      RETURN_IF_ERROR(check_owner());
      RETURN_IF_ERROR(ReplaceFolder(temporary, target));
      RETURN_IF_ERROR(data::SyncFolder(folder_));
    }
    RETURN_IF_ERROR(Link("last", StepName(step)));
    if (is_best) RETURN_IF_ERROR(Link("best", StepName(step)));
    return data::SyncFolder(folder_);
  };
  const absl::Status status = save();
  // Where the save failed, what it left; where it replaced a folder, the old one.
  RemoveQuietly(temporary);
  if (!status.ok()) return WithContext(status, before, "; the checkpoints saved before are intact");
  Prune(step);
  return absl::OkStatus();
}

absl::Status CheckpointStore::SaveAlone(const std::string& folder, int64_t step, const Snapshot& snapshot) {
  std::error_code error;
  fs::path target = fs::absolute(folder, error).lexically_normal();
  if (!target.has_filename()) target = target.parent_path();  // "out/"
  if (!error && fs::exists(fs::symlink_status(target, error))) {
    return absl::InvalidArgumentError(absl::StrCat(folder, " exists already; give a name that is free"));
  }
  ASSIGN_OR_RETURN(const Encoded encoded, Encode(step, snapshot, /*is_best=*/false));
  const fs::path parent = target.parent_path();
  const std::string temporary = (parent / absl::StrCat(kTemporary, target.filename().string())).string();
  const auto save = [&]() -> absl::Status {
    RETURN_IF_ERROR(MakeFolders(parent.string()));
    RETURN_IF_ERROR(WriteFolder(temporary, encoded));
    RETURN_IF_ERROR(ReplaceFolder(temporary, target.string()));
    return data::SyncFolder(parent.string());
  };
  const absl::Status status = save();
  RemoveQuietly(temporary);
  return status;
}

absl::Status CheckpointStore::FinishInterrupted() const {
  ASSIGN_OR_RETURN(const std::vector<int64_t> steps, Steps());
  if (steps.empty()) return absl::OkStatus();
  const std::string newest = StepName(steps.back());
  const std::string folder = absl::StrCat(folder_, "/", newest);
  const absl::StatusOr<std::string> text = ReadPart(fs::path(folder) / kStateFile);
  if (!text.ok()) return absl::OkStatus();  // damaged: for LoadLatest to say
  const absl::StatusOr<StateFile> state = DecodeState(*text, folder);
  if (!state.ok()) return absl::OkStatus();
  const auto is_linked = [&](const char* name) {
    std::error_code ignored;
    return fs::read_symlink(fs::path(folder_) / name, ignored) == newest;
  };
  const bool lacks_last = !is_linked("last");
  const bool lacks_best = state->is_best && !is_linked("best");
  if ((!lacks_last && !lacks_best) || !Load(folder, /*with_optimizer=*/true).ok()) return absl::OkStatus();
  if (lacks_last) RETURN_IF_ERROR(Link("last", newest));
  if (lacks_best) RETURN_IF_ERROR(Link("best", newest));
  return data::SyncFolder(folder_);
}

absl::Status CheckpointStore::Link(const std::string& name, const std::string& target) const {
  return ReplaceLink(absl::StrCat(folder_, "/", name), target, absl::StrCat(folder_, "/", kTemporary, name));
}

void CheckpointStore::RemoveLeftovers() const {
  std::error_code ignored;
  std::vector<fs::path> leftovers;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_, ignored)) {
    if (absl::StartsWith(entry.path().filename().string(), kTemporary)) leftovers.push_back(entry.path());
  }
  for (const fs::path& path : leftovers) RemoveQuietly(path);
}

// An old checkpoint that cannot be removed is no reason to stop a run: the next Save tries again.
void CheckpointStore::Prune(int64_t newest) const {
  const absl::StatusOr<std::vector<int64_t>> steps = Steps();
  if (!steps.ok()) return;
  std::set<std::string> kept = {StepName(newest)};
  const size_t spared = std::min(steps->size(), static_cast<size_t>(keep_));
  for (size_t i = steps->size() - spared; i < steps->size(); ++i) kept.insert(StepName((*steps)[i]));
  std::error_code ignored;
  kept.insert(fs::read_symlink(fs::path(folder_) / "best", ignored).filename().string());
  for (const int64_t step : *steps) {
    const std::string name = StepName(step);
    if (kept.contains(name)) continue;
    const fs::path doomed = fs::path(folder_) / absl::StrCat(kTemporary, "old-", name);
    fs::rename(fs::path(folder_) / name, doomed, ignored);
    RemoveQuietly(doomed);
  }
}

absl::StatusOr<std::vector<int64_t>> CheckpointStore::Steps() const {
  std::vector<int64_t> steps;
  std::error_code error;
  if (!fs::exists(folder_, error) && !error) return steps;
  fs::directory_iterator entries(folder_, error);
  if (error) return data::ErrnoStatus(error.value(), "cannot list the checkpoints in", folder_);
  for (; entries != fs::directory_iterator(); entries.increment(error)) {
    if (const auto step = ParseStepName(entries->path().filename().string())) steps.push_back(*step);
  }
  if (error) return data::ErrnoStatus(error.value(), "cannot list the checkpoints in", folder_);
  std::sort(steps.begin(), steps.end());
  return steps;
}

absl::StatusOr<std::optional<LoadedCheckpoint>> CheckpointStore::LoadLatest(
    std::vector<std::string>* warnings) const {
  ASSIGN_OR_RETURN(const std::vector<int64_t> steps, Steps());
  std::vector<std::string> reasons;
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
    const std::string folder = absl::StrCat(folder_, "/", StepName(*step));
    absl::StatusOr<Snapshot> snapshot = Load(folder, /*with_optimizer=*/true);
    if (snapshot.ok()) return LoadedCheckpoint{*std::move(snapshot), *step, folder};
    reasons.emplace_back(snapshot.status().message());
    if (warnings != nullptr) warnings->push_back(absl::StrCat("checkpoint skipped: ", reasons.back()));
  }
  if (steps.empty()) return std::nullopt;
  return absl::DataLossError(absl::StrCat(
      folder_, ": none of the ", steps.size(), " checkpoints can be used (", absl::StrJoin(reasons, "; "),
      "); restore one from a copy, or give another run.dir to start over"));
}

absl::StatusOr<Snapshot> CheckpointStore::Load(const std::string& folder, bool with_optimizer) {
  // Followed once: a link may be pointed elsewhere while its files are being read.
  std::error_code error;
  const fs::path real = fs::canonical(folder, error);
  if (error == std::errc::no_such_file_or_directory) {
    return absl::NotFoundError(absl::StrCat(folder, ": no such checkpoint folder; check the path"));
  }
  if (error) return data::ErrnoStatus(error.value(), "cannot find", folder);
  if (!fs::is_directory(real, error))
    return absl::NotFoundError(absl::StrCat(folder, ": is not a checkpoint folder"));
  if (!fs::exists(real / kStateFile, error) && !ParseStepName(real.filename().string())) {
    for (const char* inside : {"checkpoints/best", "best", "checkpoints/last", "last"}) {
      if (!fs::exists(real / inside, error)) continue;
      return absl::NotFoundError(absl::StrCat(folder, ": is not a checkpoint folder; did you mean ",
                                              (fs::path(folder) / inside).string(), "?"));
    }
    return absl::NotFoundError(absl::StrCat(folder, ": is not a checkpoint folder: it has no ", kStateFile));
  }
  ASSIGN_OR_RETURN(const std::string text, ReadPart(real / kStateFile));
  ASSIGN_OR_RETURN(StateFile state, DecodeState(text, (real / kStateFile).string()));
  Snapshot snapshot;
  ASSIGN_OR_RETURN(snapshot.model, ReadTensors(real / kModelFile, state.model_checksum));
  if (with_optimizer) {
    ASSIGN_OR_RETURN(snapshot.optimizer, ReadTensors(real / kOptimizerFile, state.optimizer_checksum));
  }
  snapshot.state = std::move(state.state);
  return snapshot;
}

absl::StatusOr<Snapshot> LoadModel(const std::string& path) {
  std::error_code error;
  if (!fs::exists(path, error)) {
    return absl::NotFoundError(
        absl::StrCat(path, ": no such checkpoint folder or .safetensors file; check the path"));
  }
  if (fs::is_directory(path, error)) return CheckpointStore::Load(path, /*with_optimizer=*/false);
  Snapshot snapshot;
  snapshot.state = nullptr;
  ASSIGN_OR_RETURN(Safetensors file, ReadSafetensors(path));
  snapshot.model = std::move(file.tensors);
  return snapshot;
}

}  // namespace trainer::checkpoint
