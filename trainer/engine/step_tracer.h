// `trainer --trace FILE`: the timeline of some steps of all ranks, from the first span to the file.
#pragma once

#include <cstdint>
#include <string>

#include "data/loader.h"
#include "launcher/communicator.h"
#include "launcher/mpi_session.h"
#include "trainer/engine/phase_clock.h"
#include "trainer/telemetry/trace.h"

namespace trainer::engine {

struct TraceOptions {
  std::string file;    // "" = no timeline
  int64_t first = 10;  // step of this start, counted from 1: the first ones are slower than all others
  int64_t count = 10;
};

// Every rank has one, which must outlive what it observes: the loader, the clock and the communicator. On
// CUDA all times are the host's: how long it took to queue the work, not the device to do it.
//
// One thread calls its methods; spans come from all.
class StepTracer {
 public:
  StepTracer(TraceOptions options, launcher::World world);

  // What tells of the batches that the loader makes; empty where no timeline is wanted.
  data::TrainLoader::Observer ForLoader();

  // Before the step `number` of this start, from 1: begins to observe where it is the first of the window.
  void BeforeStep(int64_t number, PhaseClock& clock, launcher::Communicator& communicator);

  // After that step, and all that belongs between it and the next. Collective: after the window's last step
  // the ranks' spans are brought together, and rank 0 writes the file. Where it cannot, it warns.
  void AfterStep(int64_t number, PhaseClock& clock, launcher::Communicator& communicator);

  // The run ends with the step `number`. Collective: writes the file where the window is not over yet.
  void Finish(int64_t number, PhaseClock& clock, launcher::Communicator& communicator);

  telemetry::TraceRecorder& recorder() { return recorder_; }

 private:
  void Stop(int64_t number, PhaseClock& clock, launcher::Communicator& communicator);

  TraceOptions options_;
  launcher::World world_;
  telemetry::TraceRecorder recorder_;
  bool done_ = false;
};

}  // namespace trainer::engine
