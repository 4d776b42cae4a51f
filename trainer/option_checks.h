// Checks of options' values when the command line is read. Each refuses in words that CLI11 puts the option's
// name before: "--frames: 'abc' is no whole number from 0 to 1000000000".
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>

namespace trainer {

// Decimal digits alone, without leading zeros, from `low` (>= 0) to `high`.
CLI::Validator WholeNumber(int64_t low, int64_t high);

// A number of seconds: finite, at least 0.
CLI::Validator Seconds();

// Something at all: scripts pass "" where a variable is not set.
CLI::Validator NotEmpty();

}  // namespace trainer
