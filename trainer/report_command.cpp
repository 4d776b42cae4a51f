// trainer report: one HTML file that shows a run, or compares several.
#include <chrono>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <memory>
#include <optional>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "data/output_file.h"
#include "data/status_macros.h"
#include "trainer/commands.h"
#include "trainer/evaluation_job.h"
#include "trainer/output.h"
#include "trainer/report/document.h"
#include "trainer/report/page.h"
#include "trainer/version.h"

namespace trainer {
namespace {

namespace fs = std::filesystem;

struct ReportArguments {
  std::vector<std::string> runs;
  std::string out;
  bool no_evaluate = false;
  std::string device = "auto";
};

// MPI for the evaluations, if there are any: most reports need none.
class LazyMpi {
 public:
  // `world` as the command was given it.
  explicit LazyMpi(launcher::World world) : world_(std::move(world)) {}

  const launcher::World& world() {
    if (!session_ && world_.host.empty()) {
      session_ = std::make_unique<launcher::MpiSession>(nullptr, nullptr);
      world_ = launcher::World::FromMpi();
    }
    return world_;
  }

 private:
  launcher::World world_;
  std::unique_ptr<launcher::MpiSession> session_;
};

EvaluationOptions OptionsFor(const report::Run& run, const ReportArguments& arguments) {
  EvaluationOptions options;
  options.split.model.checkpoint = run.folder + "/checkpoints/best";
  options.split.model.device = arguments.device;
  options.split.data = report::ValueOf(run.config, "data.path");
  options.split.split = report::ValueOf(run.config, "data.valid_split");
  options.out = run.folder + "/evaluation";
  return options;
}

std::string CommandFor(const EvaluationOptions& options) {
  return absl::StrCat("trainer evaluate --checkpoint ", options.split.model.checkpoint,
                      " --data DATA_SET --split SPLIT --out ", options.out);
}

absl::Status Evaluate(const EvaluationOptions& options, LazyMpi& mpi) {
  std::error_code error;
  const auto& split = options.split;
  if (!fs::is_directory(split.model.checkpoint, error)) {
    return absl::NotFoundError("it has no checkpoint yet");
  }
  if (split.data.empty()) return absl::NotFoundError("config.yaml names no data set");
  std::fprintf(stderr, "trainer: evaluating %s on split %s of %s\n", split.model.checkpoint.c_str(),
               split.split.c_str(), split.data.c_str());
  try {
    return EvaluateSplit(options, mpi.world()).status();
  } catch (const std::exception& exception) {
    // No memory on the GPU, say: the rest of the report is worth having all the same.
    const std::string what = exception.what();
    return absl::InternalError(what.substr(0, what.find('\n')));
  }
}

// Adds the run's evaluation, which is made where it is missing or of an older checkpoint.
report::ReportedRun WithEvaluation(report::Run run, const ReportArguments& arguments, LazyMpi& mpi) {
  const auto options = OptionsFor(run, arguments);
  auto evaluation = report::ReadEvaluation(options.out);
  const std::string why = evaluation.ok() ? report::WhyStale(*evaluation, run.folder) : "";
  report::ReportedRun reported;
  reported.run = std::move(run);
  if (!evaluation.ok() || !why.empty()) {
    const auto made =
        arguments.no_evaluate ? absl::CancelledError("--no-evaluate was given") : Evaluate(options, mpi);
    if (made.ok()) {
      evaluation = report::ReadEvaluation(options.out);
    } else if (evaluation.ok()) {
      reported.evaluation_note =
          absl::StrCat("This evaluation is old: ", why, ". It was not made anew: ", made.message(),
                       ". To do so: ", CommandFor(options));
    } else {
      reported.evaluation_note = absl::StrCat("The best checkpoint was not evaluated: ", made.message(),
                                              ". To do so: ", CommandFor(options));
    }
  }
  if (evaluation.ok()) {
    reported.evaluation = *std::move(evaluation);
  } else if (!absl::IsNotFound(evaluation.status())) {
    absl::StrAppend(&reported.evaluation_note, reported.evaluation_note.empty() ? "" : " ",
                    evaluation.status().message());
  }
  return reported;
}

absl::Status CheckDifferent(const std::vector<std::string>& runs) {
  std::set<std::string> seen;
  for (const auto& run : runs) {
    std::error_code error;
    const auto path = fs::weakly_canonical(run, error);
    if (!seen.insert(error ? run : path.string()).second) {
      return absl::InvalidArgumentError(absl::StrCat(run, " is given twice; name each run once"));
    }
  }
  return absl::OkStatus();
}

absl::Status RunReport(const ReportArguments& arguments, const launcher::World& world, int* exit_code) {
  RETURN_IF_ERROR(CheckDifferent(arguments.runs));
  std::vector<report::Run> read;
  for (const auto& folder : arguments.runs) {
    ASSIGN_OR_RETURN(auto run, report::ReadRun(folder));
    read.push_back(std::move(run));
  }
  std::string out = arguments.out;
  if (out.empty())
    out = arguments.runs.size() == 1 ? (fs::path(arguments.runs[0]) / "report.html").string() : "report.html";
  RETURN_IF_ERROR(CheckOutputFile(out, "--out"));

  LazyMpi mpi(world);
  std::vector<report::ReportedRun> runs;
  for (auto& run : read) runs.push_back(WithEvaluation(std::move(run), arguments, mpi));
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto document = report::BuildDocument(runs, kVersionLine,
                                              std::chrono::duration_cast<std::chrono::seconds>(now).count());
  const auto labels = report::Labels(arguments.runs);
  const auto title =
      labels.size() <= 4 ? absl::StrJoin(labels, ", ") : absl::StrCat(labels.size(), " runs compared");
  const auto page = report::RenderPage(document, title);
  RETURN_IF_ERROR(data::WriteOutputFile(out, page));
  auto* const remarks = data::IsStandardOutput(out) ? stderr : stdout;
  std::fprintf(remarks, "wrote %s (%s)\n", out.c_str(),
               absl::StrFormat("%.0f KiB", static_cast<double>(page.size()) / 1024).c_str());
  for (const auto& run : runs) {
    if (run.run.metrics.steps.empty())
      std::fprintf(remarks, "%s has no logged step yet\n", run.run.folder.c_str());
    if (!run.evaluation_note.empty())
      std::fprintf(remarks, "%s: %s\n", run.run.folder.c_str(), run.evaluation_note.c_str());
  }
  *exit_code = kExitDone;
  return absl::OkStatus();
}

}  // namespace

Command AddReport(CLI::App& app) {
  const auto arguments = std::make_shared<ReportArguments>();
  auto* command = app.add_subcommand("report", "one HTML file that shows a run, or compares several");
  command->add_option("runs", arguments->runs, "run folders")->required();
  command->add_option("--out", arguments->out,
                      "the file to write; by default RUN/report.html, of several runs report.html");
  command->add_flag("--no-evaluate", arguments->no_evaluate,
                    "do not evaluate best checkpoints; show the tables in RUN/evaluation if there are any");
  command->add_option("--device", arguments->device, "for evaluating: auto, cpu or cuda")
      ->capture_default_str();
  return {command,
          [arguments](const launcher::World& world, int* code) { return RunReport(*arguments, world, code); },
          /*one_process=*/true};
}

}  // namespace trainer
