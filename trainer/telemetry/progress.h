// The line that a run redraws in place on a terminal.
#pragma once

#include <cstdint>
#include <string>

namespace trainer::telemetry {

// The latest figures of a run, for people.
struct Progress {
  int64_t step = 0, total_steps = 0;
  double loss = 0;
  double accuracy = 0;  // 0 .. 1
  double learning_rate = 0;
  double utterances_per_second = 0;
  double wait = 0;  // share of the time that went into waiting for data, 0 .. 1
  double seconds_left = 0;
};

// A bar and the figures, in at most `columns` characters; where these are few the bar goes first, then
// figures from the right.
std::string ProgressLine(const Progress& progress, int columns);

// Characters a line of the terminal that this process' standard output ends up on; 0 where that is no
// terminal.
//
// Open MPI gives every rank a terminal of its own making, whatever mpirun's output goes to: there mpirun's
// output counts, the parent process'. A rank on another host has no mpirun beside it, and no terminal.
int TerminalColumns();

}  // namespace trainer::telemetry
