#include "trainer/preflight/clocks.h"

#include <chrono>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "launcher/control.h"
#include "trainer/preflight/ranks.h"
#include "trainer/telemetry/trace.h"

namespace trainer::preflight {
namespace {

constexpr int kBarriers = 9;
constexpr double kTooFarSeconds = 1;

int64_t WallNanoseconds() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace

void CheckClocks(const launcher::World& world, Report& report) {
  report.Begin("clocks");
  nlohmann::json mine = {{"host", world.host}, {"times", nlohmann::json::array()}};
  for (int i = 0; i < kBarriers; ++i) {
    launcher::Barrier();
    mine["times"].push_back(WallNanoseconds());
  }
  const auto ranks = GatherFacts(mine);
  if (world.rank != 0) return;

  // The timeline's way of comparing clocks, but of wall clocks, and with a clock for each rank.
  std::vector<telemetry::RankTrace> traces;
  const auto hosts = TextOf(ranks, "host");
  for (const auto& rank : ranks) {
    telemetry::RankTrace trace;
    trace.clock = absl::StrCat(traces.size());
    trace.barrier_ns = rank["times"].get<std::vector<int64_t>>();
    traces.push_back(std::move(trace));
  }
  auto& figures = report.figures("clocks");
  figures["ahead_of_rank_0_seconds"] = nlohmann::ordered_json::array();
  double farthest = 0;
  std::string last_host;
  const auto offsets = telemetry::ClockOffsets(traces);
  for (size_t rank = 0; rank < offsets.size(); ++rank) {
    const double ahead = -1e-9 * static_cast<double>(offsets[rank]);
    figures["ahead_of_rank_0_seconds"].push_back(ahead);
    farthest = std::max(farthest, std::abs(ahead));
    if (std::abs(ahead) <= kTooFarSeconds || hosts[rank] == last_host) continue;
    last_host = hosts[rank];
    report.Warn(absl::StrFormat("the clock of %s is %.1f s %s rank 0's on %s",
                                NameRanks({static_cast<int64_t>(rank)}, hosts), std::abs(ahead),
                                ahead > 0 ? "ahead of" : "behind", hosts[0]),
                "set it by NTP (timedatectl, chronyc tracking): times in logs, and `make`, go by it");
  }
  if (world.size == 1) {
    report.Ok("one rank, one clock");
  } else if (farthest <= kTooFarSeconds) {
    report.Ok(absl::StrFormat("wall clocks agree to %.2f ms", 1e3 * farthest));
  }
}

}  // namespace trainer::preflight
