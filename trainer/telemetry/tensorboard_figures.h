// A log interval's figures as TensorBoard's scalars.
#pragma once

#include "absl/status/status.h"
#include "trainer/telemetry/run_figures.h"
#include "trainer/telemetry/tensorboard_writer.h"

namespace trainer::telemetry {

// Writes the interval under these groups: train, valid, schedule, norms, speed, phases (milliseconds a step),
// ranks, devices. Nothing for what is absent, or known to no rank. The ranks' figures stand at this step, as
// in metrics.jsonl, although they are a log line older. Errors: TensorBoardWriter::Write's.
absl::Status Write(const IntervalFigures& figures, TensorBoardWriter& writer);

}  // namespace trainer::telemetry
