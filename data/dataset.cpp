#include "data/dataset.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "data/status_macros.h"

namespace data {

absl::StatusOr<std::shared_ptr<const Dataset>> Dataset::Open(const std::string& folder,
                                                             const std::vector<std::string>& only_splits) {
  std::shared_ptr<Dataset> dataset(new Dataset());
  dataset->folder_ = folder;
  ASSIGN_OR_RETURN(dataset->manifest_, LoadManifest(folder));
  const Manifest& manifest = dataset->manifest_;
  const std::vector<int64_t> needed = ShardsOf(manifest, only_splits);
  for (size_t i = 0; i < manifest.shards.size(); ++i) {
    const auto number = static_cast<int64_t>(i);
    dataset->first_.push_back(dataset->first_.back() + manifest.shards[i].utterances);
    auto& shard = dataset->shards_.emplace_back();
    if (!only_splits.empty() && !std::binary_search(needed.begin(), needed.end(), number)) continue;
    ASSIGN_OR_RETURN(shard, ShardReader::Open(folder, number, manifest));
  }
  return std::shared_ptr<const Dataset>(std::move(dataset));
}

const ShardReader& Dataset::Locate(int64_t* u) const {
  const auto after = std::upper_bound(first_.begin(), first_.end(), *u);
  const size_t shard = static_cast<size_t>(after - first_.begin()) - 1;
  *u -= first_[shard];
  return shards_[shard].value();
}

int64_t Dataset::frames(int64_t u) const {
  const ShardReader& shard = Locate(&u);
  return shard.frames(u);
}

int32_t Dataset::speaker(int64_t u) const {
  const ShardReader& shard = Locate(&u);
  return shard.speaker(u);
}

absl::StatusOr<std::string> Dataset::utterance_id(int64_t u) const {
  const ShardReader& shard = Locate(&u);
  return shard.utterance_id(u);
}

absl::StatusOr<std::vector<int64_t>> Dataset::Split(const std::string& name) const {
  const auto it = manifest_.splits.find(name);
  if (it == manifest_.splits.end()) {
    const std::string known = absl::StrJoin(manifest_.splits, ", ",
                                            [](std::string* out, const auto& split) { *out += split.first; });
    return absl::NotFoundError(absl::StrCat("data set ", folder_, " has no split '", name, "'; it has ",
                                            known.empty() ? "none (make some with `mels split`)" : known));
  }
  std::vector<int64_t> utterances;
  utterances.reserve(static_cast<size_t>(CountIndexes(it->second)));
  for (const Range& range : it->second) {
    for (int64_t u = range.begin; u < range.end; ++u) utterances.push_back(u);
  }
  return utterances;
}

std::vector<int64_t> Dataset::CountBySpeaker(std::span<const int64_t> utterances) const {
  std::vector<int64_t> counts(manifest_.speakers.size());
  for (const int64_t u : utterances) {
    if (const int32_t s = speaker(u); s >= 0) ++counts[static_cast<size_t>(s)];
  }
  return counts;
}

absl::Status Dataset::Read(int64_t u, int64_t first_frame, int64_t n_frames, float* out) const {
  if (u < 0 || u >= size()) return absl::OutOfRangeError(absl::StrCat("utterance ", u, " of ", size()));
  int64_t local = u;
  const ShardReader& shard = Locate(&local);
  const int64_t available = shard.frames(local);
  if (first_frame < 0 || n_frames < 0 || first_frame > available || n_frames > available - first_frame) {
    return absl::OutOfRangeError(absl::StrCat("frames [", first_frame, ", ", first_frame, " + ", n_frames,
                                              ") of utterance ", u, ", which has ", available));
  }
  return shard.Read(local, first_frame, n_frames, out);
}

}  // namespace data
