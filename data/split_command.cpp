// `mels split`.
#include <algorithm>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "data/commands.h"
#include "data/dataset.h"
#include "data/speed_copies.h"
#include "data/status_macros.h"

namespace data {
namespace {

struct SplitFlags {
  std::string folder;
  std::string split;
  uint64_t seed = 1;
  std::vector<std::string> from;
};

// Which utterances are dealt anew: all labelled ones, or those of the splits named by --from.
absl::StatusOr<std::vector<bool>> Chosen(const Dataset& dataset, const std::vector<std::string>& from) {
  std::vector<bool> chosen(static_cast<size_t>(dataset.size()), from.empty());
  for (const std::string& name : from) {
    ASSIGN_OR_RETURN(const std::vector<int64_t> utterances, dataset.Split(name));
    for (const int64_t u : utterances) chosen[static_cast<size_t>(u)] = true;
  }
  for (int64_t u = 0; u < dataset.size(); ++u) {
    if (dataset.speaker(u) < 0) chosen[static_cast<size_t>(u)] = false;
  }
  return chosen;
}

// A copy of a recording (data/speed_copies.h) is in the recording's split. Dealt anew, one could be trained
// on while the other is to validate.
absl::Status CheckNoCopies(const Dataset& dataset, const std::vector<bool>& chosen) {
  const Manifest& manifest = dataset.manifest();
  for (int64_t u = 0; u < dataset.size(); ++u) {
    if (!chosen[static_cast<size_t>(u)]) continue;
    const std::string& speaker = manifest.speakers[static_cast<size_t>(dataset.speaker(u))];
    if (IsSpeedCopy(speaker, manifest.speeds)) {
      return absl::InvalidArgumentError(
          absl::StrCat(dataset.folder(), " has copies at other speeds ('", speaker,
                       "'), which a new split could divide from their originals; split while extracting: "
                       "`mels extract --speed ... --split ...`"));
    }
  }
  return absl::OkStatus();
}

absl::Status RunSplit(const SplitFlags& flags) {
  ASSIGN_OR_RETURN(const SplitSpec spec, ParseSplit(flags.split));
  ASSIGN_OR_RETURN(const std::shared_ptr<const Dataset> dataset, Dataset::Open(flags.folder));
  ASSIGN_OR_RETURN(const std::vector<bool> chosen, Chosen(*dataset, flags.from));
  std::vector<int32_t> speakers;
  for (int64_t u = 0; u < dataset->size(); ++u) {
    speakers.push_back(chosen[static_cast<size_t>(u)] ? dataset->speaker(u) : -1);
  }
  RETURN_IF_ERROR(CheckNoCopies(*dataset, chosen));
  const std::vector<int32_t> assigned = AssignSplits(spec, flags.seed, speakers);

  Manifest manifest = dataset->manifest();
  std::map<std::string, Ranges> splits;
  for (const auto& [name, ranges] : manifest.splits) {
    for (const Range& range : ranges) {
      for (int64_t u = range.begin; u < range.end; ++u) {
        if (!chosen[static_cast<size_t>(u)]) AppendIndex(splits[name], u);
      }
    }
  }
  for (const std::string& name : spec.names) {
    if (splits.count(name) > 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("split '", name, "' of ", flags.folder, " holds utterances that stay ",
                       "where they are (unlabelled, or not named by --from): choose another name"));
    }
  }
  for (size_t u = 0; u < assigned.size(); ++u) {
    if (assigned[u] < 0) continue;
    AppendIndex(splits[spec.names[static_cast<size_t>(assigned[u])]], static_cast<int64_t>(u));
  }
  manifest.splits = std::move(splits);
  RETURN_IF_ERROR(SaveManifest(flags.folder, manifest));
  for (const auto& [name, ranges] : manifest.splits) {
    absl::PrintF("%-10s %9d utterances\n", name, CountIndexes(ranges));
  }
  return absl::OkStatus();
}

}  // namespace

void AddSplitCommand(CLI::App& app, absl::Status* result) {
  auto flags = std::make_shared<SplitFlags>();
  CLI::App* command = app.add_subcommand("split", "Deal each speaker's utterances to splits anew");
  command->add_option("DST", flags->folder, "The data set")->required();
  command->add_option("--split", flags->split, "Names and weights, e.g. train:valid:test=80:10:10")
      ->required();
  command->add_option("--seed", flags->seed, "Seed of the random choice")->capture_default_str();
  command->add_option("--from", flags->from, "Deal only the utterances of this split; may be given again");
  command->callback([flags, result] { *result = RunSplit(*flags); });
}

}  // namespace data
