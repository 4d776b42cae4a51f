// Saves checkpoints on a thread of its own, so that training need not wait for a disk.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <future>
#include <optional>

#include "absl/status/status.h"
#include "trainer/checkpoint/checkpoint_store.h"

namespace trainer::checkpoint {

// At most one save at a time. One thread calls; meanwhile nobody else may Save to the store.
class BackgroundSaver {
 public:
  // `store` must outlive it.
  explicit BackgroundSaver(CheckpointStore& store) : store_(store) {}

  // The destructor waits until what is being saved is saved: that is std::async's promise.

  // What CheckpointStore::Save takes.
  struct Save {
    int64_t step = 0;
    Snapshot snapshot;
    bool is_best = false;
    std::shared_future<void> complete;  // where there is one: no tensor is read before
    std::function<void()> before;  // where there is one: called before anything is written, by that thread
  };

  struct Outcome {
    Save save;
    absl::Status status;  // CheckpointStore::Save's
    double seconds = 0;   // from Start on
    std::chrono::system_clock::time_point end;
  };

  // Begins to save. The tensors of the snapshot must not change until that is over. The former save must be
  // over and its outcome taken.
  void Start(Save save);

  // Returns once nothing is being saved.
  void Wait() const;

  // The outcome of the last save, once, if it is over. Throws what saving threw.
  std::optional<Outcome> Take();

 private:
  CheckpointStore& store_;
  std::future<Outcome> saving_;
};

}  // namespace trainer::checkpoint
