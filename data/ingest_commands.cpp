// The command lines of `mels extract` and `mels import-hw4`.
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_format.h"
#include "data/commands.h"
#include "data/extract.h"
#include "data/hw4_import.h"
#include "data/status_macros.h"

namespace data {
namespace {

constexpr char kSkipBadHelp[] = "Leave out files that cannot be used and list them in DST/skipped.csv";

void PrintSummary(const IngestSummary& summary, const IngestOptions& options) {
  std::string line =
      absl::StrFormat("%d utterances of %d speakers, %.2f h, in %.1f s on %d threads", summary.utterances,
                      summary.speakers, summary.audio_seconds / 3600, summary.wall_seconds, options.threads);
  if (summary.wall_seconds > 0) {
    absl::StrAppendFormat(&line, ": %.0f times real time", summary.audio_seconds / summary.wall_seconds);
  }
  if (summary.skipped > 0) {
    absl::StrAppendFormat(&line, "; %d bad files left out, see %s/skipped.csv", summary.skipped,
                          options.writer.folder);
  }
  std::printf("%s\n", line.c_str());
}

absl::StatusOr<IngestOptions> MakeIngestOptions(const OutputOptions& output, bool skip_bad) {
  // Ingest knows the front end and the speakers, and fills them in.
  ASSIGN_OR_RETURN(WriterOptions writer, MakeWriterOptions(output, FrontEnd(), {}));
  return IngestOptions{std::move(writer), output.split, output.seed, ThreadCount(output), skip_bad};
}

struct ExtractFlags {
  std::string source;
  ExtractOptions extract;
  OutputOptions output;
  bool skip_bad = false;
};

struct ImportFlags {
  std::string source;
  OutputOptions output;
  bool skip_bad = false;
};

absl::Status RunExtract(const ExtractFlags& flags) {
  ASSIGN_OR_RETURN(const IngestOptions ingest, MakeIngestOptions(flags.output, flags.skip_bad));
  ASSIGN_OR_RETURN(const IngestSummary summary, Extract(flags.source, flags.extract, ingest));
  PrintSummary(summary, ingest);
  return absl::OkStatus();
}

absl::Status RunImport(const ImportFlags& flags) {
  ASSIGN_OR_RETURN(const IngestOptions ingest, MakeIngestOptions(flags.output, flags.skip_bad));
  ASSIGN_OR_RETURN(const IngestSummary summary, ImportHw4(flags.source, ingest));
  PrintSummary(summary, ingest);
  return absl::OkStatus();
}

}  // namespace

void AddExtractCommand(CLI::App& app, absl::Status* result) {
  CLI::App* command = app.add_subcommand("extract", "Turn recordings into log-mel features");
  auto flags = std::make_shared<ExtractFlags>();
  command
      ->add_option(
          "SRC", flags->source,
          "A folder of <speaker>/**/*.{flac,wav,ogg,mp3}, or a CSV with the columns path (relative to "
          "the CSV), speaker and perhaps split")
      ->required();
  AddOutputOptions(*command, &flags->output);
  command->add_option("--n-mels", flags->extract.n_mels, "Mel filters from 50 to 8000 Hz")
      ->capture_default_str();
  command->add_option("--normalize-db", flags->extract.normalize_db,
                      "Bring every recording to this peak level, e.g. -3");
  command->add_flag("--trim-silence", flags->extract.trim_silence,
                    "Cut silence (20 ms below 1 % of full scale) of 0.1 s and more, at the ends and inside");
  command->add_option("--speed", flags->extract.speeds,
                      "Copy the recordings of split train at these speeds, e.g. 0.9,1.1, as new speakers");
  command->add_flag("--skip-bad", flags->skip_bad, kSkipBadHelp);
  command->callback([flags, result] { *result = RunExtract(*flags); });
}

void AddImportHw4Command(CLI::App& app, absl::Status* result) {
  CLI::App* command = app.add_subcommand("import-hw4", "Take over the features of a HW4 folder, bit for bit");
  auto flags = std::make_shared<ImportFlags>();
  command
      ->add_option("SRC", flags->source,
                   "The folder with mapping.json, metadata.json, testdata.json, uttr-*.pt")
      ->required();
  AddOutputOptions(*command, &flags->output);
  command->add_flag("--skip-bad", flags->skip_bad, kSkipBadHelp);
  command->callback([flags, result] { *result = RunImport(*flags); });
}

}  // namespace data
