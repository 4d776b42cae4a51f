// A password, kept out of the configuration, which is copied to many places.
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace trainer::telemetry {

// Called with one line for people; by any thread.
using WarnFunction = std::function<void(const std::string&)>;

// "user:password", the one line of the file `path`, which the configuration names under `key`. Warns where
// others can read it. Errors (kInvalidArgument): that it cannot be read or holds something else; none shows
// what it holds.
absl::StatusOr<std::string> ReadAuthFile(const std::string& key, const std::string& path,
                                         const WarnFunction& warn);

}  // namespace trainer::telemetry
