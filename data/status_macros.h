#pragma once

// Early return on a failed absl::Status. For .cpp files only: keep macros out of headers that others include.

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define DATA_CONCAT_INNER(a, b) a##b
#define DATA_CONCAT(a, b) DATA_CONCAT_INNER(a, b)

#define RETURN_IF_ERROR(expression)                     \
  do {                                                  \
    if (absl::Status status_ = (expression); !status_.ok()) return status_; \
  } while (false)

#define ASSIGN_OR_RETURN(lhs, expression) ASSIGN_OR_RETURN_IMPL(DATA_CONCAT(result_, __LINE__), lhs, expression)
#define ASSIGN_OR_RETURN_IMPL(result, lhs, expression) \
  auto result = (expression);                          \
  if (!result.ok()) return std::move(result).status(); \
  lhs = *std::move(result)
