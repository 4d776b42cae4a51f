#include "data/staging.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "data/checksum.h"
#include "data/files.h"
#include "data/json_fields.h"
#include "data/manifest.h"
#include "data/status_macros.h"

namespace data {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr char kRecordName[] = "staged.json";
constexpr char kTemporaryPrefix[] = ".tmp-";
constexpr size_t kChunkBytes = 4 << 20;
constexpr int64_t kSyncBytes = 64 * kChunkBytes;
constexpr int64_t kSpareBytes = 1 << 20;  // for dataset.json, staged.json and what a file system adds
constexpr auto kLockPoll = std::chrono::milliseconds(100);

std::string MiB(int64_t bytes) { return absl::StrFormat("%.1f MiB", static_cast<double>(bytes) / 1048576); }

absl::Status NotWritable(const std::string& folder, int error) {
  return absl::InvalidArgumentError(absl::StrCat("cannot write to ", folder, ": ", std::strerror(error),
                                                 "; choose a folder of this host that may be written to"));
}

absl::Status Stopped() { return absl::CancelledError("stopped while the data set was being staged"); }

struct FileFacts {
  int64_t bytes = -1;  // there is no such file
  int64_t changed_ns = 0;
};

FileFacts FactsOf(const std::string& path) {
  struct stat file {};
  if (stat(path.c_str(), &file) != 0 || !S_ISREG(file.st_mode)) return {};
  return {static_cast<int64_t>(file.st_size),
          file.st_ctim.tv_sec * int64_t{1'000'000'000} + file.st_ctim.tv_nsec};
}

// One staging, under the lock.
class Staging {
 public:
  Staging(const StagingOptions& options, Manifest manifest, std::string content, std::string target)
      : options_(options),
        manifest_(std::move(manifest)),
        content_(std::move(content)),
        target_(std::move(target)),
        chunk_(kChunkBytes) {}

  absl::StatusOr<StagedDataset> Run() {
    std::error_code error;
    fs::create_directory(target_, error);
    if (error) return NotWritable(target_, error.value());
    RemoveLeftovers();
    LoadRecord();
    const std::vector<int64_t> needed = ShardsOf(manifest_, options_.splits);
    StagedDataset result{target_, static_cast<int64_t>(needed.size())};
    std::vector<int64_t> doubtful;
    for (const int64_t shard : needed) {
      if (!IsAsNoted(shard)) doubtful.push_back(shard);
    }
    for (const int64_t shard : doubtful) total_ += 2 * BytesOf(shard);  // written, and read back
    std::vector<int64_t> missing;
    for (const int64_t shard : doubtful) {
      ASSIGN_OR_RETURN(const bool is_right, HasNotedChecksum(shard));
      if (is_right) {
        RETURN_IF_ERROR(Note(shard, Record(shard).value("checksum", "")));
        done_ += 2 * BytesOf(shard);
      } else {
        (void)unlink(Target(shard).c_str());
        missing.push_back(shard);
        result.copied_bytes += BytesOf(shard);
      }
    }
    RETURN_IF_ERROR(CheckRoom(missing, result.copied_bytes));
    for (const int64_t shard : missing) {
      RETURN_IF_ERROR(Copy(shard));
      ++result.copied_shards;
    }
    const absl::StatusOr<std::string> there = ReadFile(ManifestPath(target_));
    if (!there.ok() || *there != content_) {
      RETURN_IF_ERROR(WriteFileAtomically(ManifestPath(target_), content_));
    }
    return result;
  }

 private:
  int64_t BytesOf(int64_t shard) const { return manifest_.shards[static_cast<size_t>(shard)].bytes; }
  std::string Target(int64_t shard) const { return (fs::path(target_) / ShardName(shard)).string(); }
  json Record(int64_t shard) const { return record_.value(ShardName(shard), json::object()); }

  void RemoveLeftovers() const {
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(target_, ignored)) {
      if (entry.path().filename().string().starts_with(kTemporaryPrefix)) fs::remove(entry.path(), ignored);
    }
  }

  void LoadRecord() {
    const auto text = ReadFile((fs::path(target_) / kRecordName).string());
    const json record = text.ok() ? json::parse(*text, nullptr, /*allow_exceptions=*/false) : json();
    if (!record.is_object()) return;
    for (const auto& [name, entry] : record.items()) {
      if (JsonInt(entry, "bytes").ok() && JsonInt(entry, "changed_ns").ok() &&
          JsonString(entry, "checksum").ok()) {
        record_[name] = entry;
      }
    }
  }

  bool IsAsNoted(int64_t shard) const {
    const FileFacts facts = FactsOf(Target(shard));
    const json noted = Record(shard);
    return facts.bytes == BytesOf(shard) && facts.bytes == noted.value("bytes", int64_t{-1}) &&
           facts.changed_ns == noted.value("changed_ns", int64_t{-1});
  }

  // Of a file that was touched: whether it is nevertheless what was copied.
  absl::StatusOr<bool> HasNotedChecksum(int64_t shard) {
    const json noted = Record(shard);
    if (noted.empty() || FactsOf(Target(shard)).bytes != BytesOf(shard)) return false;
    const auto checksum = ReadBack(Target(shard), BytesOf(shard), /*count=*/false);
    if (absl::IsCancelled(checksum.status())) return checksum.status();
    return checksum.ok() && *checksum == noted.value("checksum", "");
  }

  absl::Status Note(int64_t shard, const std::string& checksum) {
    const FileFacts facts = FactsOf(Target(shard));
    record_[ShardName(shard)] = {
        {"bytes", facts.bytes}, {"changed_ns", facts.changed_ns}, {"checksum", checksum}};
    return WriteFileAtomically((fs::path(target_) / kRecordName).string(), record_.dump(2) + "\n");
  }

  absl::Status CheckRoom(const std::vector<int64_t>& missing, int64_t bytes) const {
    if (missing.empty()) return absl::OkStatus();
    struct statvfs disk {};
    if (statvfs(target_.c_str(), &disk) != 0)
      return ErrnoStatus(errno, "cannot ask for the free space of", target_);
    const int64_t free = static_cast<int64_t>(disk.f_bavail) * static_cast<int64_t>(disk.f_frsize);
    if (free >= bytes + kSpareBytes) return absl::OkStatus();
    return absl::ResourceExhaustedError(
        absl::StrCat(target_, ": the disk has room for ", MiB(free), ", and ", missing.size(), " shards of ",
                     options_.source, " need ", MiB(bytes + kSpareBytes),
                     "; free space there or choose a folder on another disk"));
  }

  absl::Status Advance(size_t bytes) {
    done_ += static_cast<int64_t>(bytes);
    if (options_.progress) options_.progress(done_, total_);
    return options_.stop_requested && options_.stop_requested() ? Stopped() : absl::OkStatus();
  }

  // The checksum of the file's bytes, from the disk where the system lets that be told.
  absl::StatusOr<std::string> ReadBack(const std::string& path, int64_t bytes, bool count) {
    ASSIGN_OR_RETURN(const UniqueFd fd, OpenForRead(path));
    (void)posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED);
    ChecksumStream checksum;
    for (int64_t at = 0; at < bytes;) {
      const size_t piece = std::min(chunk_.size(), static_cast<size_t>(bytes - at));
      RETURN_IF_ERROR(PreadAll(fd.get(), chunk_.data(), piece, at, path));
      checksum.Update(chunk_.data(), piece);
      at += static_cast<int64_t>(piece);
      RETURN_IF_ERROR(Advance(count ? piece : 0));
    }
    return absl::StrFormat("%016x", checksum.Digest());
  }

  // Of the bytes as the source gave them.
  absl::StatusOr<std::string> CopyTo(const std::string& temporary, int64_t shard) {
    const std::string from = (fs::path(options_.source) / ShardName(shard)).string();
    const absl::StatusOr<UniqueFd> source = OpenForRead(from);
    if (absl::IsNotFound(source.status())) {
      return absl::NotFoundError(
          absl::StrCat("shard ", from, " is missing; restore it or make the data set anew"));
    }
    if (!source.ok()) return source.status();
    ASSIGN_OR_RETURN(const int64_t bytes, FileSize(*source, from));
    if (bytes != BytesOf(shard)) {
      return absl::DataLossError(absl::StrCat("shard ", from, " is damaged: ", bytes,
                                              " bytes, dataset.json says ", BytesOf(shard),
                                              "; restore it or make the data set anew"));
    }
    const UniqueFd to(open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    if (!to.valid()) return ErrnoStatus(errno, "cannot create", temporary);
    ChecksumStream checksum;
    for (int64_t at = 0; at < bytes;) {
      const size_t piece = std::min(chunk_.size(), static_cast<size_t>(bytes - at));
      RETURN_IF_ERROR(PreadAll(source->get(), chunk_.data(), piece, at, from));
      checksum.Update(chunk_.data(), piece);
      RETURN_IF_ERROR(PwriteAll(to.get(), chunk_.data(), piece, at, temporary));
      at += static_cast<int64_t>(piece);
      // Now and then, so that a stop need not wait for gigabytes to reach the disk.
      if (at % kSyncBytes == 0 && fdatasync(to.get()) != 0)
        return ErrnoStatus(errno, "cannot sync", temporary);
      RETURN_IF_ERROR(Advance(piece));
    }
    if (fsync(to.get()) != 0) return ErrnoStatus(errno, "cannot sync", temporary);
    return absl::StrFormat("%016x", checksum.Digest());
  }

  absl::Status Copy(int64_t shard) {
    const std::string temporary =
        (fs::path(target_) / absl::StrCat(kTemporaryPrefix, ShardName(shard))).string();
    const auto copy = [&]() -> absl::Status {
      ASSIGN_OR_RETURN(const std::string given, CopyTo(temporary, shard));
      ASSIGN_OR_RETURN(const std::string kept, ReadBack(temporary, BytesOf(shard), /*count=*/true));
      if (kept != given) {
        return absl::InternalError(
            absl::StrCat(temporary, ": the disk gives back other bytes than were written (checksum ", kept,
                         ", not ", given, "); choose a folder on another disk"));
      }
      if (rename(temporary.c_str(), Target(shard).c_str()) != 0) {
        return ErrnoStatus(errno, "cannot rename to", Target(shard));
      }
      RETURN_IF_ERROR(SyncFolder(target_));
      return Note(shard, given);
    };
    const absl::Status status = copy();
    if (!status.ok()) (void)unlink(temporary.c_str());
    return status;
  }

  const StagingOptions& options_;
  const Manifest manifest_;
  const std::string content_;  // of dataset.json
  const std::string target_;
  std::vector<char> chunk_;
  json record_ = json::object();
  int64_t done_ = 0, total_ = 0;  // bytes
};

absl::StatusOr<UniqueFd> Lock(const std::string& path, const StagingOptions& options) {
  UniqueFd lock(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (!lock.valid()) return NotWritable(path, errno);
  bool told = false;
  while (flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    if (errno != EWOULDBLOCK) return ErrnoStatus(errno, "cannot lock", path);
    if (!told && options.waiting) options.waiting(path);
    told = true;
    if (options.stop_requested && options.stop_requested()) return Stopped();
    std::this_thread::sleep_for(kLockPoll);
  }
  return lock;
}

// `content`: of the source's dataset.json.
std::string TargetOf(const StagingOptions& options, const std::string& content) {
  const std::string name =
      fs::absolute(fs::path(options.source) / "").lexically_normal().parent_path().filename();
  return (fs::path(options.folder) /
          absl::StrFormat("%s-%016x", name, Checksum(content.data(), content.size())))
      .string();
}

}  // namespace

absl::StatusOr<StagedDataset> StageDataset(const StagingOptions& options) {
  ASSIGN_OR_RETURN(Manifest manifest, LoadManifest(options.source));
  ASSIGN_OR_RETURN(std::string content, ReadFile(ManifestPath(options.source)));
  std::error_code error;
  fs::create_directories(options.folder, error);
  if (error) return NotWritable(options.folder, error.value());
  const std::string target = TargetOf(options, content);
  ASSIGN_OR_RETURN(const UniqueFd lock, Lock(target + ".lock", options));
  return Staging(options, std::move(manifest), std::move(content), target).Run();
}

absl::StatusOr<StagingNeed> MeasureStaging(const StagingOptions& options) {
  ASSIGN_OR_RETURN(const Manifest manifest, LoadManifest(options.source));
  ASSIGN_OR_RETURN(const std::string content, ReadFile(ManifestPath(options.source)));
  StagingNeed need;
  need.folder = TargetOf(options, content);
  for (const int64_t shard : ShardsOf(manifest, options.splits)) {
    const int64_t bytes = manifest.shards[static_cast<size_t>(shard)].bytes;
    need.bytes += bytes;
    if (FactsOf((fs::path(need.folder) / ShardName(shard)).string()).bytes != bytes)
      need.missing_bytes += bytes;
  }
  return need;
}

}  // namespace data
