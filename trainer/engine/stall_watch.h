// What the watchdog is told of a training run: where in it this rank is.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "launcher/communicator.h"
#include "launcher/mpi_session.h"
#include "launcher/watchdog.h"
#include "trainer/config/config.h"
#include "trainer/engine/phase_clock.h"

namespace trainer::engine {

// Every rank has one; it does nothing where watchdog.timeout_seconds is 0. Made and destroyed as a
// launcher::Watchdog is. One thread, but for what it has the communicator tell.
class StallWatch {
 public:
  // What a rank does outside of a step's phases.
  enum class Activity {
    kResume,
    kDeviceWait,  // CUDA: until the device has done the step
    kValidation,
    kCheckpoint,
    kEnd,
  };

  // Starts watching, in the set-up.
  StallWatch(const config::Config& config, const launcher::World& world);

  // From now on `clock` and `communicator` tell where the rank is, until Release(), which must come before
  // they are gone.
  void Follow(PhaseClock& clock, launcher::Communicator& communicator);
  void Release();

  void BeginStep(int64_t step);
  void BeginMicroBatch(int64_t micro);
  void FirstStepDone();
  // Where an activity goes on, such as after a batch of validation.
  void Progress();

  void Enter(Activity activity);

  // An activity as long as this object lives; then the one before again.
  class During {
   public:
    During(StallWatch& watch, Activity activity);
    ~During();
    During(const During&) = delete;
    During& operator=(const During&) = delete;

   private:
    StallWatch& watch_;
    int before_;
  };

 private:
  void Enter(int phase);

  std::optional<launcher::Watchdog> watchdog_;
  PhaseClock* clock_ = nullptr;
  launcher::Communicator* communicator_ = nullptr;
  int64_t step_ = 0;
  int64_t micro_ = -1;
};

}  // namespace trainer::engine
