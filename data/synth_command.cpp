// `mels synth`.
#include <memory>

#include "absl/strings/str_format.h"
#include "data/commands.h"
#include "data/interrupt.h"
#include "data/ordered_parallel.h"
#include "data/progress.h"
#include "data/status_macros.h"
#include "data/synth.h"

namespace data {
namespace {

struct SynthFlags {
  OutputOptions output;
  SynthOptions synth;
  int64_t utterances = 56666;
};

absl::Status RunSynth(SynthFlags flags) {
  SynthOptions& synth = flags.synth;
  synth.seed = flags.output.seed;
  ASSIGN_OR_RETURN(const SplitSpec spec,
                   ParseSplit(flags.output.split.empty() ? "train:valid=90:10" : flags.output.split));
  std::vector<std::string> names;
  for (int64_t s = 0; s < synth.speakers; ++s) names.push_back(SynthSpeakerName(s));
  std::vector<int32_t> speakers;
  for (int64_t u = 0; u < flags.utterances; ++u) speakers.push_back(SynthSpeaker(synth, u));
  const std::vector<int32_t> split = AssignSplits(spec, synth.seed, speakers);

  FrontEnd front_end;
  front_end.source = "synth";
  front_end.n_mels = synth.n_mels;
  ASSIGN_OR_RETURN(WriterOptions options, MakeWriterOptions(flags.output, front_end, std::move(names)));
  ASSIGN_OR_RETURN(const std::unique_ptr<DatasetWriter> writer, DatasetWriter::Create(std::move(options)));

  Progress progress("synth", flags.utterances, "utterances");
  const int threads = ThreadCount(flags.output);
  RETURN_IF_ERROR(OrderedParallel<std::vector<float>>(
      flags.utterances, threads, 4 * threads,
      [&](int64_t u) -> absl::StatusOr<std::vector<float>> { return Synthesize(synth, u); },
      [&](int64_t u, std::vector<float> frames) -> absl::Status {
        RETURN_IF_ERROR(CheckInterrupt());
        const size_t i = static_cast<size_t>(u);
        RETURN_IF_ERROR(writer->Add(SynthUtteranceName(u), speakers[i],
                                    spec.names[static_cast<size_t>(split[i])], frames));
        progress.Add();
        return absl::OkStatus();
      }));
  RETURN_IF_ERROR(CheckInterrupt());
  RETURN_IF_ERROR(writer->Finish());
  progress.Finish();
  absl::PrintF("%d utterances of %d speakers, %.2f h, in %s\n", writer->utterances(), synth.speakers,
               static_cast<double>(writer->frames()) / front_end.frames_per_second() / 3600,
               flags.output.folder);
  return absl::OkStatus();
}

}  // namespace

void AddSynthCommand(CLI::App& app, absl::Status* result) {
  auto flags = std::make_shared<SynthFlags>();
  CLI::App* command = app.add_subcommand("synth", "Make up speakers, for tests and benchmarks at any scale");
  AddOutputOptions(*command, &flags->output);
  command->add_option("--speakers", flags->synth.speakers, "How many speakers")
      ->check(CLI::Range(int64_t{1}, int64_t{10'000'000}))
      ->capture_default_str();
  command
      ->add_option("--utterances", flags->utterances, "How many utterances in all; the speakers take turns")
      ->check(CLI::Range(int64_t{1}, int64_t{1'000'000'000}))
      ->capture_default_str();
  command->add_option("--n-mels", flags->synth.n_mels, "Values a frame")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  command->add_option("--max-frames", flags->synth.max_frames, "Cut longer utterances; 0: do not")
      ->check(CLI::Range(int64_t{0}, int64_t{1'000'000}))
      ->capture_default_str();
  command->callback([flags, result] { *result = RunSynth(*flags); });
}

}  // namespace data
