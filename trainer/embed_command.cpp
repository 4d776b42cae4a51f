// trainer embed: the embedding of each utterance of a split, as files for other programs.
#include <cstdio>
#include <memory>

#include "absl/strings/str_cat.h"
#include "data/files.h"
#include "data/status_macros.h"
#include "launcher/control.h"
#include "trainer/commands.h"
#include "trainer/engine/embedding_pass.h"
#include "trainer/option_checks.h"
#include "trainer/output.h"
#include "trainer/scoring/embedding_files.h"
#include "trainer/split_job.h"

namespace trainer {
namespace {

struct EmbedArguments {
  SplitOptions split;
  std::string out;
};

struct PreparedSplit {
  SplitJob job;
  std::vector<std::string> ids;
};

absl::StatusOr<PreparedSplit> PrepareSplit(const EmbedArguments& arguments, const launcher::World& world) {
  PreparedSplit prepared;
  ASSIGN_OR_RETURN(prepared.job, OpenSplitJob(arguments.split));
  if (world.rank != 0) return prepared;
  ASSIGN_OR_RETURN(prepared.ids, prepared.job.Ids());
  for (const auto& id : prepared.ids) {
    if (id.find_first_of("\r\n") != std::string::npos) {
      return absl::InvalidArgumentError(absl::StrCat(
          arguments.split.data, ": an utterance's id has a line end, so ids.txt could not be read again"));
    }
  }
  RETURN_IF_ERROR(MakeOutputFolder(arguments.out, "--out"));
  return prepared;
}

absl::Status WriteFiles(const engine::Embeddings& embeddings, const PreparedSplit& prepared,
                        const EmbedArguments& arguments) {
  scoring::EmbeddingTable table{
      .values = embeddings.values, .width = embeddings.width, .ids = prepared.ids, .speakers = {}};
  std::string lines;
  for (size_t i = 0; i < prepared.ids.size(); ++i) {
    absl::StrAppend(&lines, prepared.ids[i], "\n");
    table.speakers.push_back(prepared.job.SpeakerName(prepared.job.utterances[i]));
  }
  RETURN_IF_ERROR(
      scoring::WriteEmbeddingHdf5(table, arguments.split.model.checkpoint, arguments.out + "/embeddings.h5"));
  RETURN_IF_ERROR(data::WriteFileAtomically(
      arguments.out + "/embeddings.npy",
      scoring::NpyBytes(embeddings.values, static_cast<int64_t>(prepared.ids.size()), embeddings.width)));
  return data::WriteFileAtomically(arguments.out + "/ids.txt", lines);
}

absl::Status RunEmbed(const EmbedArguments& arguments, const launcher::World& world, int* exit_code) {
  const auto& options = arguments.split;
  ASSIGN_OR_RETURN(const auto device, options.model.Bind(world));
  auto prepared = PrepareSplit(arguments, world);
  RETURN_IF_ERROR(launcher::AgreeOn(world, prepared.status()));
  const auto& job = prepared->job;
  if (world.rank == 0) WarnOfFrontEnd(job, options);
  ASSIGN_OR_RETURN(const auto embeddings, job.Embed(options, world, device));
  const auto written = world.rank == 0 ? WriteFiles(embeddings, *prepared, arguments) : absl::OkStatus();
  RETURN_IF_ERROR(launcher::AgreeOn(world, written));
  if (world.rank == 0) {
    std::printf("%s: %zu embeddings of %lld numbers in embeddings.h5 and embeddings.npy, ids in ids.txt\n",
                arguments.out.c_str(), prepared->ids.size(), static_cast<long long>(embeddings.width));
  }
  *exit_code = kExitDone;
  return absl::OkStatus();
}

}  // namespace

Command AddEmbed(CLI::App& app) {
  const auto arguments = std::make_shared<EmbedArguments>();
  auto* command = app.add_subcommand("embed", "the embedding of each utterance of a split, to HDF5 and .npy");
  arguments->split.AddTo(command);
  command
      ->add_option("--out", arguments->out,
                   "folder for embeddings.h5, embeddings.npy and ids.txt; made if need be")
      ->required()
      ->check(NotEmpty());
  return {command,
          [arguments](const launcher::World& world, int* code) { return RunEmbed(*arguments, world, code); }};
}

}  // namespace trainer
