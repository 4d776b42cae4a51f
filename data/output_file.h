// Files that a user names for an answer, which may be links, pipes, devices or standard output.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace data {

// Where writing to `path` ends up: links are followed, also where they lead to what is not there yet. Pipes,
// devices and standard output stay what they are called.
std::string OutputTarget(const std::string& path);

// Whether `path` is what standard output is: /dev/stdout, or the file that it was sent to.
bool IsStandardOutput(const std::string& path);

// Writes the whole answer: to a file, or to nothing yet, so that it is whole or not there at all
// (WriteFileAtomically at OutputTarget); straight into anything else; to standard output behind what was
// printed.
absl::Status WriteOutputFile(const std::string& path, const std::string& content);

}  // namespace data
