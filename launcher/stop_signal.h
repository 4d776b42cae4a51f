#pragma once

#include <csignal>
#include <cstdlib>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace launcher {

inline constexpr char kStopSignalVariable[] = "TRAINER_STOP_SIGNAL";

// The signal by which, beside SIGTERM and SIGINT, a run is asked to save and stop, and that mpirun and srun
// pass on: SIGUSR1, or what the environment variable TRAINER_STOP_SIGNAL says, USR1 or USR2. 0 where it says
// something else.
inline int ChosenStopSignal() {
  const char* text = std::getenv(kStopSignalVariable);
  if (text == nullptr || *text == '\0') return SIGUSR1;
  std::string_view name = text;
  if (name.starts_with("SIG")) name.remove_prefix(3);
  return name == "USR1" ? SIGUSR1 : name == "USR2" ? SIGUSR2 : 0;
}

// The other one of SIGUSR1 and SIGUSR2, which by default would end a run: of no meaning to it, to be ignored.
inline int UnchosenStopSignal() { return ChosenStopSignal() == SIGUSR1 ? SIGUSR2 : SIGUSR1; }

// What to say then.
inline absl::Status StopSignalRefused() {
  return absl::InvalidArgumentError(absl::StrCat(
      kStopSignalVariable, "=", std::getenv(kStopSignalVariable),
      ": set this environment variable to USR1 or USR2, or unset it (SIGTERM and SIGINT stop a run anyway)"));
}

}  // namespace launcher
