#pragma once

// Early return on a failed absl::Status. For .cpp files only: keep macros out of headers that others include.

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define DATA_CONCAT_INNER(a, b) a##b
#define DATA_CONCAT(a, b) DATA_CONCAT_INNER(a, b)

// The counter gives nested uses (a lambda inside the expression) different names.
#define RETURN_IF_ERROR(expression) RETURN_IF_ERROR_IMPL(DATA_CONCAT(status_, __COUNTER__), expression)
#define RETURN_IF_ERROR_IMPL(status, expression)                         \
  do {                                                                   \
    if (absl::Status status = (expression); !status.ok()) return status; \
  } while (false)

#define ASSIGN_OR_RETURN(lhs, expression) \
  ASSIGN_OR_RETURN_IMPL(DATA_CONCAT(result_, __COUNTER__), lhs, expression)
#define ASSIGN_OR_RETURN_IMPL(result, lhs, expression) \
  auto result = (expression);                          \
  if (!result.ok()) return std::move(result).status(); \
  lhs = *std::move(result)
