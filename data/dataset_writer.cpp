#include "data/dataset_writer.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "data/checksum.h"
#include "data/half.h"
#include "data/leftovers.h"
#include "data/shard_format.h"
#include "data/split.h"
#include "data/status_macros.h"

namespace data {
DatasetWriter::DatasetWriter(WriterOptions options)
    : options_(std::move(options)), shard_(options_.front_end.n_mels, options_.dtype) {}

DatasetWriter::~DatasetWriter() {
  // Best effort: without dataset.json the shards are of no use to anyone.
  if (!finished_) RemoveUnfinished(options_.folder).IgnoreError();
}

absl::StatusOr<std::unique_ptr<DatasetWriter>> DatasetWriter::Create(WriterOptions options) {
  if (options.front_end.n_mels < 1 || options.front_end.n_mels > 4096) {
    return absl::InvalidArgumentError(
        absl::StrCat(options.front_end.n_mels, " mels: from 1 to 4096 are possible"));
  }
  if (options.shard_mib < 1 || options.shard_mib > 65536) {
    return absl::InvalidArgumentError(
        absl::StrCat("a shard of ", options.shard_mib, " MiB: from 1 to 65536 are possible"));
  }
  absl::flat_hash_set<std::string> unique;
  for (const std::string& speaker : options.speakers) {
    if (speaker.empty()) return absl::InvalidArgumentError("a speaker's name is empty");
    if (!unique.insert(speaker).second) {
      return absl::InvalidArgumentError(absl::StrCat("speaker '", speaker, "' is named twice"));
    }
  }
  const std::string folder = options.folder;
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return ErrnoStatus(error.value(), "cannot make folder", folder);
  UniqueFd lock(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!lock.valid()) return ErrnoStatus(errno, "cannot open folder", folder);
  if (flock(lock.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    return absl::FailedPreconditionError(
        absl::StrCat("another process is writing to ", folder, ": let it end first"));
  }
  RETURN_IF_ERROR(PrepareFolder(folder, options.overwrite));

  std::unique_ptr<DatasetWriter> writer(new DatasetWriter(std::move(options)));
  writer->folder_lock_ = std::move(lock);
  writer->manifest_.front_end = writer->options_.front_end;
  writer->manifest_.dtype = writer->options_.dtype;
  writer->manifest_.speakers = writer->options_.speakers;
  writer->manifest_.speeds = writer->options_.speeds;
  writer->shard_.Reserve(writer->options_.shard_mib << 20);
  return writer;
}

absl::Status DatasetWriter::Add(const std::string& utterance, int32_t speaker, const std::string& split,
                                std::span<const float> frames) {
  auto wrong = [&](const std::string& what) {
    return absl::InvalidArgumentError(absl::StrCat("utterance '", utterance.substr(0, 200), "': ", what));
  };
  const size_t n_mels = static_cast<size_t>(options_.front_end.n_mels);
  if (utterance.empty() || utterance.size() > static_cast<size_t>(kMaxNameBytes) ||
      utterance.find('\0') != std::string::npos) {
    return wrong(absl::StrCat("a name has 1 to ", kMaxNameBytes, " bytes, none of them zero"));
  }
  if (speaker < -1 || speaker >= static_cast<int64_t>(options_.speakers.size())) {
    return wrong(absl::StrCat("speaker ", speaker, " of ", options_.speakers.size()));
  }
  if (!split.empty() && !IsSplitName(split))
    return wrong(absl::StrCat("'", split, "' is no name for a split"));
  if (frames.empty()) return wrong("has no frames");
  if (frames.size() % n_mels != 0)
    return wrong(absl::StrCat(frames.size(), " values are not frames of ", n_mels));
  if (!AllFinite(frames.data(), frames.size())) return wrong("a value is not finite");
  if (options_.dtype == DType::kFloat16) {
    for (const float value : frames) {
      if (std::fabs(value) >= 65520.0f)
        return wrong(absl::StrCat("the value ", value, " does not fit float16: use float32"));
    }
  }
  if (!seen_.insert(Checksum(utterance.data(), utterance.size())).second)
    return wrong("a second one of this name");

  const int64_t bytes = static_cast<int64_t>(frames.size()) * DTypeBytes(options_.dtype);
  if (shard_.utterances() > 0 && shard_.frame_bytes() + bytes > options_.shard_mib << 20)
    RETURN_IF_ERROR(FlushShard());
  shard_.Add(utterance, speaker, frames);
  if (!split.empty()) AppendIndex(manifest_.splits[split], utterances_);
  ++utterances_;
  frames_ += static_cast<int64_t>(frames.size() / n_mels);
  return absl::OkStatus();
}

absl::Status DatasetWriter::FlushShard() {
  ASSIGN_OR_RETURN(const ShardInfo info,
                   shard_.Write(options_.folder, static_cast<int64_t>(manifest_.shards.size())));
  manifest_.shards.push_back(info);
  return absl::OkStatus();
}

absl::Status DatasetWriter::Finish() {
  if (utterances_ == 0)
    return absl::InvalidArgumentError(
        absl::StrCat("nothing to write to ", options_.folder, ": no utterances"));
  RETURN_IF_ERROR(FlushShard());
  RETURN_IF_ERROR(SyncFolder(options_.folder));
  // The manifest takes the place of the mark: at no moment are there finished shards without one of them.
  RETURN_IF_ERROR(SaveManifest(options_.folder, manifest_, UnfinishedPath(options_.folder)));
  finished_ = true;
  return absl::OkStatus();
}

}  // namespace data
