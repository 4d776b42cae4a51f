#include "data/ingest.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <iterator>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "data/csv.h"
#include "data/files.h"
#include "data/interrupt.h"
#include "data/ordered_parallel.h"
#include "data/progress.h"
#include "data/split.h"
#include "data/status_macros.h"

namespace data {
namespace {

struct Skipped {
  std::string path;
  std::string reason;
};

// What a bad file tells about the run as a whole: these codes are not the file's fault.
bool IsFilesFault(const absl::Status& status) {
  return status.code() != absl::StatusCode::kCancelled &&
         status.code() != absl::StatusCode::kResourceExhausted &&
         status.code() != absl::StatusCode::kInternal;
}

absl::Status NameFile(const absl::Status& status, const std::string& path) {
  return absl::Status(status.code(), absl::StrCat(path, ": ", std::string(status.message())));
}

// With --skip-bad: a speaker stays if one file of theirs can be used. That must be known before the first
// utterance is written, for labels are indexes into the list of speakers. Mostly one file a speaker is read
// twice for it.
absl::Status DropLostSpeakers(const ReadFeatures& read, int threads, IngestList& list,
                              std::vector<Skipped>& skipped) {
  std::vector<std::vector<const IngestItem*>> files(list.speakers.size());
  for (const IngestItem& item : list.items) {
    if (item.speaker >= 0) files[static_cast<size_t>(item.speaker)].push_back(&item);
  }
  using Reasons = std::vector<Skipped>;  // why every file of a speaker is bad; empty: one is good
  const auto probe = [&](int64_t speaker) -> absl::StatusOr<Reasons> {
    Reasons reasons;
    for (const IngestItem* item : files[static_cast<size_t>(speaker)]) {
      RETURN_IF_ERROR(CheckInterrupt());
      const absl::Status status = read(*item).status();
      if (status.ok()) return Reasons();
      if (!IsFilesFault(status)) return NameFile(status, item->path);
      reasons.push_back({item->path, std::string(status.message())});
    }
    reasons.push_back({list.speakers[static_cast<size_t>(speaker)], "speaker left out: no usable utterance"});
    return reasons;
  };
  std::vector<int32_t> new_index(list.speakers.size(), -1);
  std::vector<std::string> kept;
  RETURN_IF_ERROR(OrderedParallel<Reasons>(
      static_cast<int64_t>(list.speakers.size()), threads, 4 * threads, probe,
      [&](int64_t speaker, Reasons reasons) {
        if (reasons.empty()) {
          new_index[static_cast<size_t>(speaker)] = static_cast<int32_t>(kept.size());
          kept.push_back(list.speakers[static_cast<size_t>(speaker)]);
        }
        std::move(reasons.begin(), reasons.end(), std::back_inserter(skipped));
        return absl::OkStatus();
      }));
  std::erase_if(list.items, [&](const IngestItem& item) {
    return item.speaker >= 0 && new_index[static_cast<size_t>(item.speaker)] < 0;
  });
  for (IngestItem& item : list.items) {
    if (item.speaker >= 0) item.speaker = new_index[static_cast<size_t>(item.speaker)];
  }
  list.speakers = std::move(kept);
  if (list.speakers.empty() && !skipped.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("not one file can be used; the first one, ",
                                                   skipped.front().path, ": ", skipped.front().reason));
  }
  return absl::OkStatus();
}

absl::Status WriteSkipped(const std::string& folder, const std::vector<Skipped>& skipped) {
  const std::string path = absl::StrCat(folder, "/skipped.csv");
  if (skipped.empty()) {
    std::error_code ignored;  // an older run's report, if any, must not speak for this data set
    std::filesystem::remove(path, ignored);
    return absl::OkStatus();
  }
  std::string text = "path,reason\n";
  for (const Skipped& file : skipped)
    absl::StrAppend(&text, QuoteCsv(file.path), ",", QuoteCsv(file.reason), "\n");
  return WriteFileAtomically(path, text);
}

}  // namespace

absl::Status DealSplits(const IngestOptions& options, IngestList* list) {
  if (options.split.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const SplitSpec spec, ParseSplit(options.split));
  std::vector<IngestItem>& items = list->items;
  std::vector<int32_t> speakers;
  std::vector<size_t> dealt;
  for (size_t i = 0; i < items.size(); ++i) {
    if (items[i].split == kTrainSplit && items[i].speaker >= 0) {
      speakers.push_back(items[i].speaker);
      dealt.push_back(i);
    } else if (std::find(spec.names.begin(), spec.names.end(), items[i].split) != spec.names.end()) {
      return absl::InvalidArgumentError(absl::StrCat("--split ", options.split, ": the source has a split '",
                                                     items[i].split,
                                                     "' of its own; give the new one another name"));
    }
  }
  if (dealt.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--split ", options.split, ": the source has no split 'train' to deal anew"));
  }
  const std::vector<int32_t> choice = AssignSplits(spec, options.seed, speakers);
  for (size_t i = 0; i < dealt.size(); ++i)
    items[dealt[i]].split = spec.names[static_cast<size_t>(choice[i])];
  return absl::OkStatus();
}

absl::StatusOr<IngestSummary> Ingest(IngestList list, const ReadFeatures& read, const FrontEnd& front_end,
                                     const IngestOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  const int threads = options.threads;
  std::vector<Skipped> skipped;
  const auto listed = static_cast<int64_t>(list.items.size());
  if (options.skip_bad) RETURN_IF_ERROR(DropLostSpeakers(read, threads, list, skipped));
  WriterOptions writer_options = options.writer;
  writer_options.front_end = front_end;
  writer_options.speakers = list.speakers;
  ASSIGN_OR_RETURN(std::unique_ptr<DatasetWriter> writer, DatasetWriter::Create(std::move(writer_options)));

  IngestSummary summary;
  summary.speakers = static_cast<int64_t>(list.speakers.size());
  struct Outcome {
    absl::Status status;  // not OK: a bad file, to be skipped
    Features features;
  };
  Progress progress("mels", static_cast<int64_t>(list.items.size()), "utterances");
  const auto produce = [&](int64_t i) -> absl::StatusOr<Outcome> {
    const IngestItem& item = list.items[static_cast<size_t>(i)];
    absl::StatusOr<Features> features = read(item);
    if (features.ok()) return Outcome{absl::OkStatus(), *std::move(features)};
    if (options.skip_bad && IsFilesFault(features.status())) return Outcome{features.status(), {}};
    return NameFile(features.status(), item.path);
  };
  const auto consume = [&](int64_t i, Outcome outcome) -> absl::Status {
    RETURN_IF_ERROR(CheckInterrupt());
    const IngestItem& item = list.items[static_cast<size_t>(i)];
    progress.Add();
    if (!outcome.status.ok()) {
      skipped.push_back({item.path, std::string(outcome.status.message())});
      return absl::OkStatus();
    }
    summary.audio_seconds += outcome.features.seconds;
    return writer->Add(item.name, item.speaker, item.split, outcome.features.frames);
  };
  RETURN_IF_ERROR(OrderedParallel<Outcome>(static_cast<int64_t>(list.items.size()), threads, 4 * threads,
                                           produce, consume));
  progress.Finish();
  RETURN_IF_ERROR(WriteSkipped(options.writer.folder, skipped));
  RETURN_IF_ERROR(writer->Finish());
  summary.utterances = writer->utterances();
  summary.skipped = listed - summary.utterances;
  summary.wall_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return summary;
}

}  // namespace data
