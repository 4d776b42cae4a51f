// What `mels extract` and `mels import-hw4` have in common: a list of files, each of which becomes one
// utterance, is read by many threads and written to a data set in the list's order.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "data/dataset_writer.h"
#include "data/front_end.h"

namespace data {

// The split that training takes, that sources without splits have, and that --split deals anew.
inline constexpr char kTrainSplit[] = "train";

struct IngestItem {
  std::string path;      // file to read
  std::string name;      // the utterance's name in the data set
  int32_t speaker = -1;  // index into the list's speakers; -1: unlabelled
  std::string split;     // as the source has it
  int64_t frames = -1;   // how many the source says there are; -1: it does not say
  double speed = 1;      // at which a recording is played
};

struct IngestList {
  std::vector<std::string> speakers;
  std::vector<IngestItem> items;
};

struct Features {
  std::vector<float> frames;  // (T, n_mels)
  double seconds = 0;         // of audio they stand for
};

// Reads one item. Called by many threads at once. Its errors read on after the path ("is truncated: ...").
using ReadFeatures = std::function<absl::StatusOr<Features>(const IngestItem& item)>;

struct IngestOptions {
  WriterOptions writer{};  // its front end and speakers are filled in by Ingest
  std::string split{};     // of DealSplits, e.g. "train:valid=90:10"; empty: splits as the source has them
  uint64_t seed = 1;       // of DealSplits
  int threads = 1;         // that read
  bool skip_bad = false;   // leave out files that cannot be used
};

struct IngestSummary {
  int64_t utterances = 0;
  int64_t skipped = 0;
  int64_t speakers = 0;
  double audio_seconds = 0;
  double wall_seconds = 0;
};

// Deals the labelled items of split `train` anew by options.split and options.seed, where a split is given;
// the others keep theirs. kInvalidArgument: a split that cannot be, one whose name the source uses itself, or
// no items to deal.
absl::Status DealSplits(const IngestOptions& options, IngestList* list);

// Fills a data set. Its content and order depend on the list and the options only, not on the number of
// threads; memory is bounded by a few utterances a thread and the writer's shard.
//
// A file that cannot be used ends it with "<path>: <reason>", the reader's own status code kept. With
// `skip_bad` such files are left out and listed in `skipped.csv` (path,reason) in the data set's folder; a
// speaker of whom nothing is left then leaves the list of speakers too.
absl::StatusOr<IngestSummary> Ingest(IngestList list, const ReadFeatures& read, const FrontEnd& front_end,
                                     const IngestOptions& options);

}  // namespace data
