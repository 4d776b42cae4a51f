// trainer preflight: would the run start, and how fast would it be?
#include <cstdio>
#include <memory>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "launcher/control.h"
#include "launcher/deadline.h"
#include "launcher/stalled.h"
#include "launcher/watchdog.h"
#include "trainer/commands.h"
#include "trainer/config/config.h"
#include "trainer/engine/stopwatch.h"
#include "trainer/option_checks.h"
#include "trainer/output.h"
#include "trainer/preflight/preflight.h"
#include "trainer/version.h"

namespace trainer {
namespace {

struct PreflightArguments {
  std::string config;
  std::vector<std::string> overrides;
  bool json = false;
  double timeout_seconds = 300;
};

void Print(const preflight::Report& report, bool as_json, double seconds) {
  const auto errors = report.Count(preflight::Level::kError);
  const auto warnings = report.Count(preflight::Level::kWarning);
  if (as_json) {
    auto json = preflight::ToJson(report);
    json["seconds"] = seconds;
    PrintJsonLine(json);
  } else {
    const auto text = preflight::ToText(report);
    std::printf("%s\n%s\n", text.c_str(),
                absl::StrFormat("errors: %d, warnings: %d, after %.1f s: %s", errors, warnings, seconds,
                                errors > 0 ? "the run cannot start as it is" : "the run can start")
                    .c_str());
  }
}

launcher::WatchdogOptions WatchdogOptionsOf(const PreflightArguments& arguments) {
  launcher::WatchdogOptions options;
  for (const char* part : preflight::kParts) options.phases.push_back({part, arguments.timeout_seconds});
  options.exit_code = launcher::kExitStalled;
  options.advice = "see to that host, or leave it out, and try again";
  return options;
}

absl::Status RunPreflight(const PreflightArguments& arguments, const launcher::World& world, int* exit_code) {
  const engine::Stopwatch clock;
  preflight::Report report;
  const auto load = [&] { return config::LoadRunConfig(arguments.config, arguments.overrides); };
  // Watchdogs talk to each other, which those of programs of different versions might not understand.
  std::optional<launcher::Deadline> deadline;
  std::optional<launcher::Watchdog> watchdog;
  deadline.emplace(arguments.timeout_seconds, "the comparison of versions has not ended");
  const auto progress = [&](int part) {
    if (part > 0 && deadline) {
      deadline.reset();
      if (arguments.timeout_seconds > 0) watchdog.emplace(world, WatchdogOptionsOf(arguments));
    }
    if (watchdog) watchdog->Enter(part, /*step=*/0);
    if (world.rank == 0) std::fprintf(stderr, "preflight: %s\n", preflight::kParts[part]);
  };
  const auto status = preflight::Run(arguments.config, load, world, progress, report);
  if (!status.ok()) {
    report.Begin("config");
    report.Error(status);
  }
  // A configuration that is none leaves nothing to tell but that: as in training, one line on stderr.
  if (world.rank == 0 && (status.ok() || arguments.json)) Print(report, arguments.json, clock.Seconds());
  if (!status.ok()) return status;
  const auto errors = launcher::BroadcastString(absl::StrCat(report.Count(preflight::Level::kError)), 0);
  *exit_code = errors == "0" ? kExitDone : kExitBadInput;
  return absl::OkStatus();
}

}  // namespace

Command AddPreflight(CLI::App& app) {
  const auto arguments = std::make_shared<PreflightArguments>();
  auto* command = app.add_subcommand(
      "preflight",
      "try out all that a run needs, on all its ranks, in less than a minute; leaves nothing behind");
  command
      ->add_option("--config", arguments->config,
                   "the run's configuration: a path, or a name found in configs/")
      ->required();
  command->add_option("overrides", arguments->overrides, "configuration keys to override, as key=value");
  command
      ->add_option(
          "--timeout", arguments->timeout_seconds,
          "seconds that a part of it may take, after which the late rank is named and all are ended; 0: none")
      ->check(Seconds())
      ->capture_default_str();
  command->add_flag("--json", arguments->json,
                    "print one JSON document for scripts instead of lines for people");
  return {command, [arguments](const launcher::World& world, int* code) {
            return RunPreflight(*arguments, world, code);
          }};
}

}  // namespace trainer
