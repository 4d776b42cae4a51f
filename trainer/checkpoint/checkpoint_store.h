// The checkpoints of a run folder: saved so that neither a crash, nor kill -9, nor a full disk at any moment
// can cost one that was complete, and loaded with every byte checked.
//
//   <run>/checkpoints/step-00002000/{model.safetensors, optimizer.safetensors, state.json}
//   <run>/checkpoints/last, best         links to one of them
//   <run>/checkpoints/.tmp-*             what an interrupted save left; ignored, and removed by the next Save
//
// Note [How a save cannot destroy anything]: the three files are written to a temporary folder and fsynced,
// then the folder is fsynced, renamed to its name, and its parent fsynced. So a folder called step-* is
// complete, or the disk has damaged it since, which the checksums tell. state.json says whether it was the
// best so far: where a crash came between the folder and its links, FinishInterrupted sets them. Links are
// replaced by renaming a new link over the old one. Old checkpoints are renamed to a temporary name before
// they are removed, and only once the new one is safe.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/checkpoint/safetensors.h"

namespace trainer::checkpoint {

// All that a run needs to go on.
struct Snapshot {
  NamedTensors model;      // by PyTorch's state_dict names
  NamedTensors optimizer;  // empty where it was not asked for
  // An object. The keys "step", "is_best", "format_version" and "checksums" are the store's own: Save sets
  // them, Load gives only "step" back. Numbers must be finite (JSON has no others).
  nlohmann::json state = nlohmann::json::object();
};

struct LoadedCheckpoint {
  Snapshot snapshot;
  int64_t step = 0;
  std::string folder;  // .../checkpoints/step-00002000
};

// For one process at a time to Save with (rank 0); any number may load meanwhile. Not thread-safe.
class CheckpointStore {
 public:
  // Touches no file. `keep` (>= 1): how many of the newest checkpoints Save leaves, beside the one `best`
  // points to.
  CheckpointStore(std::string run_dir, int64_t keep);

  // Saves `snapshot` as step-<step>, points `last` (and with `is_best` also `best`) to it, and removes old
  // checkpoints. A step saved again replaces its folder; where the content (`is_best` too) is the same, only
  // the links move. On error nothing that was there before has changed, and the temporary folder is gone (an
  // error from replacing a link or from the last fsync may leave the new checkpoint in place: it is
  // complete). kResourceExhausted: the disk is full.
  absl::Status Save(int64_t step, const Snapshot& snapshot, bool is_best);

  // From now on Save asks `is_ours`, on its own thread, before it writes and again before the new folder gets
  // its name; where it says no, the run folder has been taken away and Save fails with kFailedPrecondition,
  // leaving all as it is.
  void Guard(std::function<bool()> is_ours) { is_ours_ = std::move(is_ours); }

  // Sets the links that a Save, interrupted after its folder was complete, did not get to. For rank 0 before
  // resuming: otherwise `best` may lag behind what the newest state says. The next Save does it too.
  absl::Status FinishInterrupted() const;

  // The newest valid checkpoint; nullopt where there is none at all. Each newer one that is damaged adds a
  // line to `warnings` (may be null). kDataLoss where there are checkpoints and all of them are damaged:
  // starting over is for the user to decide.
  absl::StatusOr<std::optional<LoadedCheckpoint>> LoadLatest(std::vector<std::string>* warnings) const;

  // The steps for which there is a folder, valid or not, in ascending order.
  absl::StatusOr<std::vector<int64_t>> Steps() const;

  // Writes a checkpoint to a folder of any name, outside a run: to a temporary name beside it first, then
  // renamed. kInvalidArgument where `folder` exists; else as Save.
  static absl::Status SaveAlone(const std::string& folder, int64_t step, const Snapshot& snapshot);

  // One checkpoint folder, or a link to one (`best`, `last`). Verifies the checksums of all that it reads.
  // kNotFound: not a checkpoint folder. kDataLoss: a file in it is missing or damaged.
  static absl::StatusOr<Snapshot> Load(const std::string& folder, bool with_optimizer);

  const std::string& folder() const { return folder_; }  // <run>/checkpoints

 private:
  absl::Status Link(const std::string& name, const std::string& target) const;
  void RemoveLeftovers() const;
  void Prune(int64_t newest) const;

  std::string folder_;
  int64_t keep_;
  std::function<bool()> is_ours_;
};

// A model alone, from a checkpoint folder (with its state) or from a .safetensors file (state: null).
absl::StatusOr<Snapshot> LoadModel(const std::string& path);

}  // namespace trainer::checkpoint
