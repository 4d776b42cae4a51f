#pragma once

// The subcommands of `mels`. Each Add...Command() declares one on `app`; where the user names it, its
// callback runs it and leaves the outcome in `*result`. main() turns that into one line on stderr and the
// exit code: 0 done, 2 for what a user can mend (kInvalidArgument, kNotFound, kAlreadyExists,
// kFailedPrecondition, kDataLoss), 130 or 143 interrupted, 1 anything else.

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "data/dataset_writer.h"
#include "data/split.h"

namespace data {

void AddExtractCommand(CLI::App& app, absl::Status* result);
void AddImportHw4Command(CLI::App& app, absl::Status* result);
void AddSynthCommand(CLI::App& app, absl::Status* result);
void AddSplitCommand(CLI::App& app, absl::Status* result);
void AddInfoCommand(CLI::App& app, absl::Status* result);
void AddCheckCommand(CLI::App& app, absl::Status* result);

// What every command that writes a data set takes.
struct OutputOptions {
  std::string folder;             // DST
  std::string dtype = "float32";  // --dtype
  int64_t shard_mib = 256;        // --shard-mib
  std::string split;              // --split, e.g. train:valid=90:10; empty: the command's own way
  uint64_t seed = 1;              // --seed
  bool force = false;             // --force
  int threads = 0;                // --threads; 0: all cores
};

// Declares DST and the options above; `options` must outlive the parse.
void AddOutputOptions(CLI::App& command, OutputOptions* options);
// The writer's options from them; kInvalidArgument for an unknown dtype.
absl::StatusOr<WriterOptions> MakeWriterOptions(const OutputOptions& options, const FrontEnd& front_end,
                                                std::vector<std::string> speakers);
int ThreadCount(const OutputOptions& options);

}  // namespace data
