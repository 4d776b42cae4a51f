// For the programs that tests run: a result, or one line on stderr and exit code 2.
#pragma once

#include <errno.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>

#include "absl/status/statusor.h"

namespace trainer {

template <typename T>
T OrDie(absl::StatusOr<T> result) {
  if (result.ok()) return *std::move(result);
  std::fprintf(stderr, "%s: %s\n", program_invocation_short_name,
               std::string(result.status().message()).c_str());
  std::exit(2);
}

}  // namespace trainer
