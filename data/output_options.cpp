#include <algorithm>
#include <thread>

#include "data/commands.h"

namespace data {

void AddOutputOptions(CLI::App& command, OutputOptions* options) {
  command.add_option("DST", options->folder, "Folder of the data set to make")->required();
  command.add_option("--dtype", options->dtype, "float32 or float16 on disk")->capture_default_str();
  command.add_option("--shard-mib", options->shard_mib, "Size of a shard, held in memory while it fills")
      ->check(CLI::Range(int64_t{1}, int64_t{65536}))
      ->capture_default_str();
  command.add_option("--split", options->split,
                     "Deal each speaker's utterances, e.g. train:valid:test=80:10:10");
  command.add_option("--seed", options->seed, "Seed of the random choices")->capture_default_str();
  command.add_option("-j,--jobs,--threads", options->threads, "0: all cores")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  command.add_flag("--force", options->force, "Replace a data set that is there");
}

absl::StatusOr<WriterOptions> MakeWriterOptions(const OutputOptions& options, const FrontEnd& front_end,
                                                std::vector<std::string> speakers) {
  absl::StatusOr<DType> dtype = ParseDType(options.dtype);
  if (!dtype.ok()) return dtype.status();
  return WriterOptions{.folder = options.folder,
                       .front_end = front_end,
                       .dtype = *dtype,
                       .shard_mib = options.shard_mib,
                       .speakers = std::move(speakers),
                       .overwrite = options.force};
}

int ThreadCount(const OutputOptions& options) {
  return options.threads > 0 ? options.threads
                             : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace data
