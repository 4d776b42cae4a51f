#include "trainer/engine/step_tracer.h"

#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "data/output_file.h"
#include "data/status_macros.h"
#include "launcher/control.h"
#include "trainer/telemetry/log.h"

namespace trainer::engine {
namespace {

using telemetry::Track;

constexpr int kBarriers = 9;

absl::Status WriteFile(const std::vector<std::string>& gathered, const std::string& file) {
  std::vector<telemetry::RankTrace> ranks;
  int64_t dropped = 0;
  for (const auto& bytes : gathered) {
    ASSIGN_OR_RETURN(auto rank, telemetry::RankTraceFromBytes(bytes));
    dropped += rank.dropped;
    ranks.push_back(std::move(rank));
  }
  if (dropped > 0) {
    telemetry::Warn(absl::StrCat("the timeline ", file, " lacks the last ", dropped,
                                 " spans, which were too many; trace fewer steps with --trace-steps"));
  }
  return data::WriteOutputFile(file, telemetry::ToChromeTrace(ranks));
}

}  // namespace

StepTracer::StepTracer(TraceOptions options, launcher::World world)
    : options_(std::move(options)), world_(std::move(world)), done_(options_.file.empty()) {}

data::TrainLoader::Observer StepTracer::ForLoader() {
  if (done_) return {};
  return [this](int64_t global_batch, auto start, auto end) {
    if (!recorder_.on()) return;
    recorder_.Add({"make batch",
                   "batch",
                   Track::kLoader,
                   telemetry::TraceTime(start),
                   telemetry::TraceTime(end),
                   {{"for_step", global_batch + 1}}});
  };
}

void StepTracer::BeforeStep(int64_t number, PhaseClock& clock, launcher::Communicator& communicator) {
  if (done_ || number != options_.first) return;
  clock.Observe([this](telemetry::Phase phase, auto start, auto end) {
    recorder_.Add({telemetry::kPhaseNames[static_cast<size_t>(phase)],
                   "phase",
                   Track::kMain,
                   telemetry::TraceTime(start),
                   telemetry::TraceTime(end),
                   {}});
  });
  communicator.Observe([this](int64_t bytes, auto start, auto end) {
    recorder_.Add({"all-reduce",
                   "bucket",
                   Track::kCommunication,
                   telemetry::TraceTime(start),
                   telemetry::TraceTime(end),
                   {{"bytes", bytes}}});
  });
  recorder_.Start();
}

void StepTracer::AfterStep(int64_t number, PhaseClock& clock, launcher::Communicator& communicator) {
  if (!done_ && number + 1 == options_.first + options_.count) Stop(number, clock, communicator);
}

void StepTracer::Finish(int64_t number, PhaseClock& clock, launcher::Communicator& communicator) {
  if (done_) return;
  if (recorder_.on()) {
    Stop(number, clock, communicator);
  } else if (world_.rank == 0) {
    telemetry::Warn(absl::StrCat("there is no timeline ", options_.file, ": this start ended after ", number,
                                 " steps, and --trace-steps begins at step ", options_.first));
  }
}

void StepTracer::Stop(int64_t number, PhaseClock& clock, launcher::Communicator& communicator) {
  recorder_.Stop();
  clock.Observe({});
  communicator.Observe({});
  done_ = true;

  telemetry::RankTrace mine;
  mine.rank = world_.rank;
  mine.host = world_.host;
  mine.clock = telemetry::CurrentClock(world_.host);
  std::tie(mine.spans, mine.dropped) = recorder_.Take();
  for (int i = 0; i < kBarriers; ++i) {
    launcher::Barrier();
    mine.barrier_ns.push_back(telemetry::TraceNow());
  }
  const auto gathered = launcher::GatherStrings(telemetry::ToBytes(mine), 0);
  if (world_.rank != 0) return;
  if (const auto status = WriteFile(gathered, options_.file); !status.ok()) {
    telemetry::Warn(absl::StrCat("--trace: ", status.message()));
    return;
  }
  telemetry::Info(absl::StrCat("the timeline of steps ", options_.first, " to ", number,
                               " of this start is in ", options_.file, "; ui.perfetto.dev shows it"));
}

}  // namespace trainer::engine
