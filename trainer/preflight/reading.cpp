#include "trainer/preflight/reading.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "data/checksum.h"
#include "data/staging.h"
#include "data/status_macros.h"
#include "launcher/control.h"
#include "trainer/engine/stopwatch.h"
#include "trainer/preflight/disk.h"
#include "trainer/preflight/ranks.h"
#include "trainer/telemetry/run_figures.h"

namespace trainer::preflight {
namespace {

constexpr double kSeconds = 1;

// What of data.stage_to can be told without filling it: on each host, whether there is a place for the shards
// that are not there yet.
absl::Status CheckStaging(const config::Config& config, const launcher::World& world) {
  if (world.local_rank != 0) return absl::OkStatus();
  data::StagingOptions options;
  options.source = config.data.path;
  options.folder = config.data.stage_to;
  options.splits = engine::SplitsOf(config);
  ASSIGN_OR_RETURN(const data::StagingNeed need, data::MeasureStaging(options));
  const auto folder = NearestFolder(need.folder);
  const auto free = FreeBytes(folder);
  if (const auto speed = WriteSpeed(folder); !free.ok() || !speed.ok()) {
    const auto& status = free.ok() ? speed.status() : free.status();
    return absl::InvalidArgumentError(absl::StrCat("data.stage_to: ", status.message(),
                                                   "; choose a folder of this host that may be written to"));
  }
  const auto missing = static_cast<double>(need.missing_bytes);
  if (*free >= missing) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("data.stage_to: ", config.data.stage_to, ": ", FormatBytes(*free),
                   " are free, and the shards of ", config.data.path, " that are not there yet are ",
                   FormatBytes(missing), "; free space there or choose a folder on another disk"));
}

std::string EpochsText(const config::Config& config, const engine::TrainingData& data) {
  const double epochs =
      static_cast<double>(config.schedule.total_steps) / static_cast<double>(data.batches_per_epoch());
  return epochs < 10 ? absl::StrFormat("%.1f epochs", epochs)
                     : absl::StrCat(FormatCount(static_cast<int64_t>(epochs + 0.5)), " epochs");
}

// An error where ranks see different data. Collective.
bool AllSeeTheSame(const config::Config& config, const engine::TrainingData& data,
                   const launcher::World& world, Report& report) {
  const auto speakers = absl::StrJoin(data.dataset().manifest().speakers, "\n");
  const auto mine =
      absl::StrCat(data.Fingerprint(), absl::Hex(data::Checksum(speakers.data(), speakers.size())));
  const auto hosts = launcher::AllGatherStrings(world.host);
  const auto groups = GroupByValue(launcher::AllGatherStrings(mine));
  for (size_t i = 1; i < groups.size(); ++i) {
    report.Error(absl::StrCat(config.data.path, " holds other data for ", NameRanks(groups[i].ranks, hosts),
                              " than for ", NameRanks(groups[0].ranks, hosts)),
                 "copy the same data set to all hosts, or put it on a file system that they share");
  }
  return groups.size() == 1;
}

}  // namespace

std::optional<engine::TrainingData> OpenData(const config::Config& config, const launcher::World& world,
                                             Report& report) {
  report.Begin("data");
  auto data = engine::TrainingData::Open(config, world);
  if (const auto status = launcher::AgreeOn(world, data.status()); !status.ok()) {
    report.Error(status);
    return std::nullopt;
  }
  if (!AllSeeTheSame(config, *data, world, report)) return std::nullopt;
  const auto speakers = static_cast<int64_t>(data->dataset().manifest().speakers.size());
  report.Ok(absl::StrCat(config.data.path, ": ", FormatCount(speakers), " speakers, ",
                         FormatCount(data->train_utterances()), " utterances to train on (",
                         FormatCount(data->batches_per_epoch()), " batches of ", config.train.global_batch,
                         " an epoch), ", FormatCount(data->valid_utterances()), " for validation; ",
                         FormatCount(config.schedule.total_steps), " steps are ", EpochsText(config, *data)));
  if (!config.data.stage_to.empty()) {
    const auto status = launcher::AgreeOn(world, CheckStaging(config, world));
    report.Error(status);
    if (status.ok()) {
      report.Ok(
          absl::StrCat("data.stage_to ", config.data.stage_to,
                       ": all hosts have room; it is filled when the run begins, and what is read here comes "
                       "from data.path"));
    }
  }
  if (!data->has_validation()) {
    report.Warn(absl::StrCat(config.data.path, " has no split '", config.data.valid_split,
                             "': nothing is validated, and checkpoints/best is the last checkpoint"),
                "make one with `mels split`, or set data.valid_split");
  }
  report.figures("data") = {{"path", config.data.path},
                            {"speakers", speakers},
                            {"train_utterances", data->train_utterances()},
                            {"valid_utterances", data->valid_utterances()},
                            {"batches_per_epoch", data->batches_per_epoch()},
                            {"total_steps", config.schedule.total_steps}};
  return *std::move(data);
}

bool MeasureReading(const engine::TrainingData& data, const launcher::World& world, bool pinned,
                    Report& report) {
  report.Begin("data");
  absl::Status status;
  double utterances = 0, bytes = 0;
  const auto loader = data.MakeTrainLoader(0, pinned);
  launcher::Barrier();
  const engine::Stopwatch clock;
  do {
    const auto batch = loader->Next();
    status = batch.status();
    if (!status.ok()) break;
    utterances += static_cast<double>((*batch)->mels.size(0));
    bytes += static_cast<double>((*batch)->mels.nbytes());
  } while (clock.Seconds() < kSeconds);
  const double seconds = clock.Seconds();
  if (const auto agreed = launcher::AgreeOn(world, status); !agreed.ok()) {
    report.Error(agreed);
    return false;
  }
  const auto ranks =
      GatherFacts({{"host", world.host}, {"utterances", utterances / seconds}, {"bytes", bytes / seconds}});
  if (world.rank != 0) return true;
  const auto hosts = TextOf(ranks, "host");
  const auto speeds = NumberOf(ranks, "bytes"), crops = NumberOf(ranks, "utterances");
  report.figures("data")["read_utterances_per_second"] = crops;
  report.figures("data")["read_bytes_per_second"] = speeds;
  report.Ok(absl::StrFormat("a rank's loader makes %.0f random crops/s (%s/s; slowest rank %.0f)",
                            telemetry::SpreadOf(crops).median,
                            FormatBytes(telemetry::SpreadOf(speeds).median), telemetry::SpreadOf(crops).min));
  for (const auto& slow : FindSlowRanks(speeds)) {
    report.Warn(absl::StrCat(NameRanks({slow.rank}, hosts), " reads at ", FormatBytes(slow.speed),
                             "/s, the median is ", FormatBytes(slow.median), "/s"),
                "look at the storage of that host, and for other processes there");
  }
  return true;
}

}  // namespace trainer::preflight
