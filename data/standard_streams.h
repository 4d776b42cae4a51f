// Standard input, output and error of a program whose output is its answer.
#pragma once

#include "absl/status/status.h"

namespace data {

// To be called first in main. A stream that the caller has closed is opened in its place, such that writing
// to standard output still fails: otherwise the next file opened would get its number, and what is printed.
void FillClosedStandardStreams();

// To be called last. Whether all that was printed on standard output has arrived; otherwise "cannot write to
// standard output: No space left on device" or the like.
absl::Status FlushStandardOutput();

}  // namespace data
