#pragma once

#include "absl/status/status.h"

namespace data {

// Makes SIGINT and SIGTERM set a flag instead of ending the process; a second one ends it at once.
void CatchInterrupts();

// kCancelled, with a message that says how to go on, once a signal has come. Long loops ask at every item.
absl::Status CheckInterrupt();

// The signal that came, 0 if none.
int InterruptSignal();

}  // namespace data
