// Writing all of something or nothing. Not to survive a power failure: for that there is
// data::WriteFileAtomically.
#pragma once

#include <string>

namespace trainer::telemetry {

// Replaces `path` at once: nobody reads a part of it. Returns 0 or an errno; then `path` is as it was.
int ReplaceFile(const std::string& path, const std::string& content);

// Appends to `path`, which is made where it is not there. Returns 0 or an errno; then what was written of
// `bytes` is taken away again, as far as the system lets it, and a later call may do better.
int AppendWhole(const std::string& path, const std::string& bytes);

}  // namespace trainer::telemetry
