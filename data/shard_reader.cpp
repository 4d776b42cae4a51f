#include "data/shard_reader.h"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "data/checksum.h"
#include "data/half.h"
#include "data/hdf5_handle.h"
#include "data/json_fields.h"
#include "data/shard_format.h"
#include "data/status_macros.h"

namespace data {
namespace {

absl::Status ChecksumRange(int fd, int64_t begin, int64_t end, const std::string& path,
                           ChecksumStream* checksum) {
  std::vector<char> buffer(64 * 1024);
  while (begin < end) {
    const size_t n = static_cast<size_t>(std::min<int64_t>(end - begin, static_cast<int64_t>(buffer.size())));
    RETURN_IF_ERROR(PreadAll(fd, buffer.data(), n, begin, path));
    checksum->Update(buffer.data(), n);
    begin += static_cast<int64_t>(n);
  }
  return absl::OkStatus();
}

// What the user block says where it contradicts the manifest, for a message that helps: "" where it does not,
// or is damaged itself.
std::string Contradiction(int fd, int64_t shard, const Manifest& manifest, const std::string& path) {
  std::array<char, kUserBlockBytes + 1> block{};
  if (!PreadAll(fd, block.data(), kUserBlockBytes, 0, path).ok()) return "";
  const auto said = nlohmann::json::parse(std::string(block.data()), nullptr, /*allow_exceptions=*/false);
  const auto format = JsonString(said, "format");
  if (!format.ok() || *format != kShardFormat) return "";
  const auto differs = [&](const char* key, int64_t expected) -> std::string {
    const auto value = JsonInt(said, key);
    if (!value.ok() || *value == expected) return "";
    return absl::StrCat("its ", key, " is ", *value, ", ", kManifestName, " says ", expected);
  };
  const ShardInfo& info = manifest.shards[static_cast<size_t>(shard)];
  for (const auto& [key, expected] : {std::pair<const char*, int64_t>{"schema_version", kSchemaVersion},
                                      {"n_mels", manifest.front_end.n_mels},
                                      {"shard", shard},
                                      {"utterances", info.utterances},
                                      {"frames", info.frames}}) {
    if (std::string text = differs(key, expected); !text.empty()) return text;
  }
  return "";
}

// A dataset that is what it should be: contiguous, of this shape and type.
struct Extent {
  Hdf5Handle dataset;
  Hdf5Handle type;
  int64_t offset = 0;
};

absl::StatusOr<Extent> OpenDataset(hid_t file, const char* name, const std::vector<hsize_t>& shape,
                                   const std::string& path) {
  auto wrong = [&](const char* what) {
    return absl::DataLossError(absl::StrCat(path, ": dataset '", name, "' ", what));
  };
  Hdf5Handle dataset(H5Dopen2(file, name, H5P_DEFAULT));
  if (!dataset.valid()) return wrong("is missing");
  const Hdf5Handle space(H5Dget_space(dataset.get()));
  RETURN_IF_HDF5_ERROR(space.get(), path);
  const int rank = H5Sget_simple_extent_ndims(space.get());
  if (rank != static_cast<int>(shape.size())) return wrong("has the wrong rank");
  std::vector<hsize_t> extent(shape.size());
  RETURN_IF_HDF5_ERROR(H5Sget_simple_extent_dims(space.get(), extent.data(), nullptr), path);
  if (extent != shape) return wrong("has the wrong shape");
  Hdf5Handle type(H5Dget_type(dataset.get()));
  RETURN_IF_HDF5_ERROR(type.get(), path);
  const haddr_t offset = H5Dget_offset(dataset.get());
  if (offset == HADDR_UNDEF) return wrong("is not contiguous");
  return Extent{std::move(dataset), std::move(type), static_cast<int64_t>(offset)};
}

template <typename T>
absl::Status ReadDataset(hid_t file, const char* name, hid_t type, hsize_t count, std::vector<T>* out,
                         const std::string& path) {
  ASSIGN_OR_RETURN(const Extent extent, OpenDataset(file, name, {count}, path));
  if (H5Tequal(extent.type.get(), type) <= 0) {
    return absl::DataLossError(absl::StrCat(path, ": dataset '", name, "' has the wrong type"));
  }
  out->resize(count);
  RETURN_IF_HDF5_ERROR(H5Dread(extent.dataset.get(), type, H5S_ALL, H5S_ALL, H5P_DEFAULT, out->data()), path);
  return absl::OkStatus();
}

absl::Status CheckAttribute(hid_t file, const char* name, hid_t type, uint64_t expected,
                            const std::string& path) {
  const Hdf5Handle attribute(H5Aopen(file, name, H5P_DEFAULT));
  uint64_t value = 0;
  if (!attribute.valid() || H5Aread(attribute.get(), type, &value) < 0 || value != expected) {
    return absl::DataLossError(absl::StrCat(path, ": attribute '", name, "' is not ", expected));
  }
  return absl::OkStatus();
}

// When the file was last changed: its bytes, its name or its attributes. Unlike the time of modification
// nobody can set it back.
absl::StatusOr<int64_t> ChangedNanoseconds(int fd, const std::string& path) {
  struct stat file {};
  if (fstat(fd, &file) != 0) return ErrnoStatus(errno, "cannot stat", path);
  return file.st_ctim.tv_sec * int64_t{1'000'000'000} + file.st_ctim.tv_nsec;
}

}  // namespace

absl::StatusOr<uint64_t> LayoutChecksum(int fd, const ShardInfo& info, int64_t frame_bytes,
                                        const std::string& path) {
  ChecksumStream checksum;
  RETURN_IF_ERROR(ChecksumRange(fd, 0, info.frames_offset, path, &checksum));
  RETURN_IF_ERROR(ChecksumRange(fd, info.frames_offset + frame_bytes, info.bytes, path, &checksum));
  return checksum.Digest();
}

absl::StatusOr<ShardReader> ShardReader::Open(const std::string& folder, int64_t shard,
                                              const Manifest& manifest) {
  const ShardInfo& info = manifest.shards[static_cast<size_t>(shard)];
  ShardReader reader;
  reader.path_ = (std::filesystem::path(folder) / ShardName(shard)).string();
  reader.info_ = info;
  reader.dtype_ = manifest.dtype;
  reader.n_mels_ = manifest.front_end.n_mels;
  const std::string& path = reader.path_;

  absl::StatusOr<UniqueFd> fd = OpenForRead(path);
  if (absl::IsNotFound(fd.status())) {
    return absl::NotFoundError(
        absl::StrCat("shard ", path, " is missing: restore it or make the data set anew"));
  }
  if (!fd.ok()) return fd.status();
  reader.fd_ = *std::move(fd);
  ASSIGN_OR_RETURN(reader.believed_->changed_ns, ChangedNanoseconds(reader.fd_.get(), path));
  if (const std::string text = Contradiction(reader.fd_.get(), shard, manifest, path); !text.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("shard ", path, " belongs to another data set (", text, "): restore the right file"));
  }
  RETURN_IF_ERROR(reader.CheckLayout());
  RETURN_IF_ERROR(reader.ReadStructure(shard, manifest));
  return reader;
}

// That the file has its size, and all bytes but the frames.
absl::Status ShardReader::CheckLayout() const {
  ASSIGN_OR_RETURN(const int64_t bytes, FileSize(fd_, path_));
  if (bytes != info_.bytes) {
    return absl::DataLossError(absl::StrCat(
        "shard ", path_, " is ", bytes < info_.bytes ? "truncated" : "damaged", ": ", bytes, " bytes, ",
        kManifestName, " says ", info_.bytes, "; restore it or make the data set anew"));
  }
  const int64_t frame_bytes = info_.frames * n_mels_ * DTypeBytes(dtype_);
  ASSIGN_OR_RETURN(const uint64_t layout, LayoutChecksum(fd_.get(), info_, frame_bytes, path_));
  if (layout != info_.layout_checksum) {
    return absl::DataLossError(absl::StrCat("shard ", path_,
                                            " is damaged: the checksum of its header and index is wrong; ",
                                            "restore it or make the data set anew"));
  }
  return absl::OkStatus();
}

absl::Status ShardReader::ReadStructure(int64_t shard, const Manifest& manifest) {
  const ShardInfo& info = manifest.shards[static_cast<size_t>(shard)];
  const Hdf5Lock lock;
  const Hdf5Handle access(H5Pcreate(H5P_FILE_ACCESS));
  RETURN_IF_HDF5_ERROR(access.get(), path_);
  // Nobody writes to a finished shard, and locks fail on some network and read-only file systems.
  RETURN_IF_HDF5_ERROR(H5Pset_file_locking(access.get(), false, true), path_);
  const Hdf5Handle file(H5Fopen(path_.c_str(), H5F_ACC_RDONLY, access.get()));
  RETURN_IF_HDF5_ERROR(file.get(), path_);

  RETURN_IF_ERROR(CheckAttribute(file.get(), kAttrSchema, H5T_NATIVE_UINT64, kSchemaVersion, path_));
  RETURN_IF_ERROR(
      CheckAttribute(file.get(), kAttrShard, H5T_NATIVE_UINT64, static_cast<uint64_t>(shard), path_));
  RETURN_IF_ERROR(CheckAttribute(file.get(), kAttrCount, H5T_NATIVE_UINT64,
                                 static_cast<uint64_t>(info.utterances), path_));
  RETURN_IF_ERROR(CheckAttribute(file.get(), kAttrChecksum, H5T_NATIVE_UINT64, info.checksum, path_));

  const hsize_t count = static_cast<hsize_t>(info.utterances);
  std::vector<uint64_t> checksums;
  std::vector<char> names;
  RETURN_IF_ERROR(ReadDataset(file.get(), kOffsets, H5T_STD_I64LE, count + 1, &offsets_, path_));
  RETURN_IF_ERROR(ReadDataset(file.get(), kSpeaker, H5T_STD_I32LE, count, &speakers_, path_));
  RETURN_IF_ERROR(ReadDataset(file.get(), kFrameChecksum, H5T_STD_U64LE, count, &checksums, path_));
  ASSIGN_OR_RETURN(const Extent checksum_extent, OpenDataset(file.get(), kFrameChecksum, {count}, path_));
  ASSIGN_OR_RETURN(const Extent name_extent, OpenDataset(file.get(), kUtterance, {count}, path_));
  ASSIGN_OR_RETURN(const Extent frame_extent,
                   OpenDataset(file.get(), kFrames,
                               {static_cast<hsize_t>(info.frames), static_cast<hsize_t>(n_mels_)}, path_));

  const Hdf5Handle frame_type =
      dtype_ == DType::kFloat32 ? Hdf5Handle(H5Tcopy(H5T_IEEE_F32LE)) : Hdf5HalfType();
  RETURN_IF_HDF5_ERROR(frame_type.get(), path_);
  if (H5Tequal(frame_extent.type.get(), frame_type.get()) <= 0 || frame_extent.offset != info.frames_offset) {
    return absl::DataLossError(
        absl::StrCat(path_, ": '", kFrames, "' is not ", DTypeName(dtype_), " at byte ", info.frames_offset));
  }
  const size_t width = H5Tget_size(name_extent.type.get());
  if (H5Tget_class(name_extent.type.get()) != H5T_STRING || H5Tis_variable_str(name_extent.type.get()) != 0 ||
      width < 1 || width > static_cast<size_t>(kMaxNameBytes) ||
      name_extent.offset + static_cast<int64_t>(width * count) > info.bytes ||
      checksum_extent.offset + static_cast<int64_t>(8 * count) > info.bytes) {
    return absl::DataLossError(
        absl::StrCat(path_, ": '", kUtterance, "' or '", kFrameChecksum, "' has the wrong type or place"));
  }
  frames_offset_ = frame_extent.offset;
  names_offset_ = name_extent.offset;
  name_width_ = static_cast<int64_t>(width);
  checksums_offset_ = checksum_extent.offset;
  names.resize(width * count);
  RETURN_IF_ERROR(PreadAll(fd_.get(), names.data(), names.size(), names_offset_, path_));

  ChecksumStream checksum;
  checksum.Update(offsets_.data(), offsets_.size() * sizeof(int64_t));
  checksum.Update(speakers_.data(), speakers_.size() * sizeof(int32_t));
  checksum.Update(names.data(), names.size());
  checksum.Update(checksums.data(), checksums.size() * sizeof(uint64_t));
  if (checksum.Digest() != info.checksum) {
    return absl::DataLossError(
        absl::StrCat("shard ", path_, " is damaged: the checksum of its index is wrong"));
  }
  // A right checksum still does not vouch for what the writer wrote.
  const bool ascending =
      offsets_.front() == 0 && offsets_.back() == info.frames &&
      std::adjacent_find(offsets_.begin(), offsets_.end(), std::greater_equal<>()) == offsets_.end();
  if (!ascending)
    return absl::DataLossError(
        absl::StrCat("shard ", path_, ": its offsets do not ascend from 0 to ", info.frames));
  for (size_t u = 0; u < speakers_.size(); ++u) {
    if (speakers_[u] < -1 || speakers_[u] >= static_cast<int64_t>(manifest.speakers.size())) {
      return absl::DataLossError(absl::StrCat("shard ", path_, ": utterance ", u, " has speaker ",
                                              speakers_[u], " of ", manifest.speakers.size()));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ShardReader::utterance_id(int64_t u) const {
  std::string name(static_cast<size_t>(name_width_), '\0');
  RETURN_IF_ERROR(PreadAll(fd_.get(), name.data(), name.size(), names_offset_ + u * name_width_, path_));
  name.resize(strnlen(name.data(), name.size()));
  return name;
}

absl::Status ShardReader::Damaged(int64_t u, const std::string& what) const {
  const absl::StatusOr<std::string> name = utterance_id(u);
  return absl::DataLossError(absl::StrCat("shard ", path_, ", utterance '",
                                          name.ok() ? *name : absl::StrCat("#", u), "': ", what,
                                          "; restore the shard or make the data set anew"));
}

absl::Status ShardReader::Read(int64_t u, int64_t first, int64_t count, float* out) const {
  const absl::Status status = ReadFrames(u, first, count, out);
  // Afterwards, so that a change which comes before this moment cannot have gone into `out` unnoticed.
  ASSIGN_OR_RETURN(const bool was_touched, WasTouched());
  if (!was_touched) return status;
  RETURN_IF_ERROR(Verify(u));
  return ReadFrames(u, first, count, out);
}

// One fstat, a fraction of a microsecond, as long as it was not.
absl::StatusOr<bool> ShardReader::WasTouched() const {
  ASSIGN_OR_RETURN(const int64_t changed_ns, ChangedNanoseconds(fd_.get(), path_));
  if (changed_ns == believed_->changed_ns) return believed_->was_touched.load();
  const std::lock_guard lock(believed_->mutex);
  if (changed_ns == believed_->changed_ns) return true;  // another thread has looked
  RETURN_IF_ERROR(CheckLayout());
  believed_->was_touched = true;
  believed_->changed_ns = changed_ns;
  return true;
}

absl::Status ShardReader::ReadFrames(int64_t u, int64_t first, int64_t count, float* out) const {
  const int64_t frame = offsets_[static_cast<size_t>(u)] + first;
  const size_t values = static_cast<size_t>(count * n_mels_);
  const int64_t position = frames_offset_ + frame * n_mels_ * DTypeBytes(dtype_);
  if (dtype_ == DType::kFloat32) {
    RETURN_IF_ERROR(PreadAll(fd_.get(), out, values * sizeof(float), position, path_));
  } else {
    std::array<uint16_t, 8192> chunk;
    for (size_t done = 0; done < values;) {
      const size_t n = std::min(values - done, chunk.size());
      RETURN_IF_ERROR(
          PreadAll(fd_.get(), chunk.data(), n * 2, position + static_cast<int64_t>(done * 2), path_));
      HalfToFloat(chunk.data(), out + done, n);
      done += n;
    }
  }
  if (!AllFinite(out, values)) return Damaged(u, "a value is not finite");
  return absl::OkStatus();
}

absl::Status ShardReader::Verify(int64_t u) const {
  const int64_t row = n_mels_ * DTypeBytes(dtype_);
  const int64_t begin = frames_offset_ + offsets_[static_cast<size_t>(u)] * row;
  ChecksumStream checksum;
  RETURN_IF_ERROR(ChecksumRange(fd_.get(), begin, begin + frames(u) * row, path_, &checksum));
  uint64_t expected = 0;
  RETURN_IF_ERROR(PreadAll(fd_.get(), &expected, sizeof(expected), checksums_offset_ + u * 8, path_));
  if (checksum.Digest() != expected) return Damaged(u, "the checksum of its frames is wrong");
  std::vector<float> values(static_cast<size_t>(frames(u) * n_mels_));
  return ReadFrames(u, 0, frames(u), values.data());
}

}  // namespace data
