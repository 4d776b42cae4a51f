#include "trainer/preflight/run_folder.h"

#include <algorithm>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "launcher/control.h"
#include "trainer/checkpoint/checkpoint_store.h"
#include "trainer/engine/run_lock.h"
#include "trainer/engine/run_setup.h"
#include "trainer/engine/stopwatch.h"
#include "trainer/preflight/disk.h"
#include "trainer/preflight/ranks.h"
#include "trainer/telemetry/log.h"

namespace trainer::preflight {
namespace {

namespace fs = std::filesystem;

RunFolder CheckOnRankZero(const config::Config& config, Report& report) {
  RunFolder result;
  const auto& run_dir = config.run.dir;
  auto& figures = report.figures("run_folder");
  figures["path"] = run_dir;
  if (const auto owner = engine::RunLock::Owner(run_dir)) {
    result.in_use = true;
    result.usable = false;
    figures["in_use"] = true;
    report.Error(absl::StrCat("another run is writing to run.dir ", run_dir, *owner,
                              ", so nothing was measured, which would slow it down"),
                 "let it end first, or set run.dir to another folder");
    return result;
  }
  figures["in_use"] = false;
  std::error_code error;
  const fs::path folder = NearestFolder(run_dir);
  const bool exists = fs::exists(run_dir, error);
  if (!fs::is_directory(folder, error)) {
    result.usable = false;
    report.Error(absl::StrCat("cannot create run.dir ", run_dir, ": ", folder.string(), " is no folder"),
                 "set run.dir to another folder");
    return result;
  }
  const auto speed = WriteSpeed(folder);
  if (!speed.ok()) {
    result.usable = false;
    report.Error(absl::StrCat("run.dir ", run_dir, ": ", std::string(speed.status().message())),
                 "set run.dir to a folder that can be written to");
    return result;
  }
  result.write_bytes_per_second = *speed;
  figures["write_bytes_per_second"] = *speed;
  const auto may_resume =
      engine::CheckMayResume(config, checkpoint::CheckpointStore(run_dir, config.checkpoint.keep));
  report.Error(may_resume);
  result.usable = may_resume.ok();
  report.Ok(absl::StrCat("run.dir ", run_dir, exists ? " is there and can be written to" : " can be made",
                         ", at ", FormatBytes(*speed), "/s"));
  return result;
}

// Due every so many steps, and at the end.
int64_t Times(int64_t total, int64_t every) { return every == 0 ? 1 : (total + every - 1) / every; }

}  // namespace

RunFolder CheckRunFolder(const config::Config& config, const launcher::World& world, Report& report) {
  report.Begin("run folder");
  RunFolder folder;
  if (world.rank == 0) folder = CheckOnRankZero(config, report);
  const nlohmann::json mine = {
      {"in_use", folder.in_use}, {"usable", folder.usable}, {"speed", folder.write_bytes_per_second}};
  const auto shared = nlohmann::json::parse(launcher::BroadcastString(mine.dump(), 0));
  return {shared["in_use"].get<bool>(), shared["usable"].get<bool>(), shared["speed"].get<double>()};
}

void CheckDisk(const config::Config& config, const RunFolder& folder, int64_t checkpoint_bytes,
               bool has_validation, double step_seconds, Report& report) {
  report.Begin("run folder");
  const auto total = config.schedule.total_steps;
  const auto saves = Times(total, config.checkpoint.every) +
                     (has_validation ? Times(total, config.train.validate_every) : 0);
  // Beside the newest ones the best, and the one that is being written before an old one goes.
  const auto most = std::min(config.checkpoint.keep + 2, saves);
  const auto size = static_cast<double>(checkpoint_bytes);
  const double needed = size * static_cast<double>(most);
  const double held = BytesBelow(fs::path(config.run.dir) / "checkpoints");
  const auto free = FreeBytes(NearestFolder(config.run.dir));
  if (!free.ok()) {
    report.Error(free.status());
    return;
  }
  auto& figures = report.figures("run_folder");
  figures["free_bytes"] = *free;
  figures["checkpoint_bytes"] = checkpoint_bytes;
  figures["checkpoints_at_most"] = most;
  const auto text =
      absl::StrCat("checkpoints of ", FormatBytes(size), ", at most ", most, " at a time, take ",
                   FormatBytes(needed), "; ", FormatBytes(*free), " are free",
                   held > 0 ? absl::StrCat(" beside ", FormatBytes(held), " of older ones") : "");
  const char* advice = "free some space, lower checkpoint.keep, or set run.dir to another disk";
  if (*free + held < needed) {
    report.Error(absl::StrCat("the disk of run.dir is too small: ", text), advice);
  } else if (*free + held < 1.5 * needed) {
    report.Warn(absl::StrCat("the disk of run.dir will be nearly full: ", text), advice);
  } else {
    report.Ok(text);
  }
  if (folder.write_bytes_per_second <= 0) return;
  const double seconds = size / folder.write_bytes_per_second;
  figures["checkpoint_write_seconds"] = seconds;
  const double between = step_seconds * static_cast<double>(config.checkpoint.every);
  if (between > 0 && seconds > between) {
    report.Warn(absl::StrCat("to write a checkpoint takes ", telemetry::FormatDuration(seconds),
                             ", longer than the ", telemetry::FormatDuration(between),
                             " from one to the next, so training will wait for it"),
                "raise checkpoint.every, or set run.dir to a faster disk");
  }
}

}  // namespace trainer::preflight
