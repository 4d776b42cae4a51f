// `mels check`.
#include <cstdio>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "data/commands.h"
#include "data/interrupt.h"
#include "data/manifest.h"
#include "data/ordered_parallel.h"
#include "data/progress.h"
#include "data/shard_reader.h"
#include "data/status_macros.h"

namespace data {
namespace {

constexpr int64_t kMostLines = 50;

// Damage is a result here: it does not end the check.
struct Verdict {
  absl::Status damage;
};

absl::Status RunCheck(const std::string& folder, int threads) {
  ASSIGN_OR_RETURN(const Manifest manifest, LoadManifest(folder));
  int64_t damages = 0;
  const auto report = [&](const absl::Status& status) {
    if (++damages <= kMostLines) absl::FPrintF(stderr, "%s\n", std::string(status.message()));
  };
  Progress progress("check", manifest.utterances(), "utterances");
  for (size_t i = 0; i < manifest.shards.size(); ++i) {
    const absl::StatusOr<ShardReader> shard = ShardReader::Open(folder, static_cast<int64_t>(i), manifest);
    if (!shard.ok()) {
      report(shard.status());
      progress.Add(manifest.shards[i].utterances);
      continue;
    }
    RETURN_IF_ERROR(OrderedParallel<Verdict>(
        shard->size(), threads, 8 * threads,
        [&](int64_t u) -> absl::StatusOr<Verdict> { return Verdict{shard->Verify(u)}; },
        [&](int64_t, const Verdict& verdict) -> absl::Status {
          if (!verdict.damage.ok()) report(verdict.damage);
          progress.Add();
          if (InterruptSignal() != 0)
            return absl::CancelledError("interrupted before everything was checked");
          return absl::OkStatus();
        }));
  }
  progress.Finish();
  if (damages > 0) {
    return absl::DataLossError(absl::StrCat(folder, " is damaged in ", damages,
                                            damages == 1 ? " place" : " places",
                                            damages > kMostLines ? ", not all of them listed" : ""));
  }
  absl::PrintF("%s is sound: %d shards, %d utterances, %d frames\n", folder, manifest.shards.size(),
               manifest.utterances(), manifest.frames());
  return absl::OkStatus();
}

}  // namespace

void AddCheckCommand(CLI::App& app, absl::Status* result) {
  auto options = std::make_shared<OutputOptions>();
  CLI::App* command = app.add_subcommand("check", "Read every byte and compare all checksums");
  command->add_option("DST", options->folder, "The data set")->required();
  command->add_option("--threads", options->threads, "0: all cores")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  command->callback([options, result] { *result = RunCheck(options->folder, ThreadCount(*options)); });
}

}  // namespace data
