#include "trainer/checkpoint/background_saver.h"

#include <utility>

#include "trainer/checkpoint/give_way.h"

namespace trainer::checkpoint {

void BackgroundSaver::Start(Save save) {
  TORCH_CHECK(!saving_.valid(), "one save at a time");
  saving_ = std::async(std::launch::async, [this, save = std::move(save)]() mutable {
    const auto start = std::chrono::steady_clock::now();
    GiveWayToTraining();
    if (save.complete.valid()) save.complete.get();
    if (save.before) save.before();
    Outcome outcome;
    outcome.status = store_.Save(save.step, save.snapshot, save.is_best);
    outcome.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    outcome.end = std::chrono::system_clock::now();
    outcome.save = std::move(save);
    return outcome;
  });
}

void BackgroundSaver::Wait() const {
  if (saving_.valid()) saving_.wait();
}

std::optional<BackgroundSaver::Outcome> BackgroundSaver::Take() {
  if (!saving_.valid() || saving_.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
    return std::nullopt;
  }
  return saving_.get();
}

}  // namespace trainer::checkpoint
