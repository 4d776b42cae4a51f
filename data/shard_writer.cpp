#include "data/shard_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "data/checksum.h"
#include "data/files.h"
#include "data/half.h"
#include "data/hdf5_handle.h"
#include "data/shard_format.h"
#include "data/shard_reader.h"
#include "data/status_macros.h"

namespace data {
namespace {

// Space for HDF5's own structures, far more than they take.
constexpr int64_t kStructureBytes = 64 * 1024;

// Contiguous, and at its place in the file from the start.
Hdf5Handle ContiguousLayout() {
  Hdf5Handle layout(H5Pcreate(H5P_DATASET_CREATE));
  const bool ok = layout.valid() && H5Pset_layout(layout.get(), H5D_CONTIGUOUS) >= 0 &&
                  H5Pset_alloc_time(layout.get(), H5D_ALLOC_TIME_EARLY) >= 0 &&
                  H5Pset_fill_time(layout.get(), H5D_FILL_TIME_NEVER) >= 0 &&
                  // Times in the file would make equal data sets differ.
                  H5Pset_obj_track_times(layout.get(), false) >= 0;
  if (!ok) return Hdf5Handle();
  return layout;
}

absl::StatusOr<Hdf5Handle> CreateDataset(hid_t file, const char* name, hid_t type, std::vector<hsize_t> shape,
                                         const std::string& path) {
  const Hdf5Handle layout = ContiguousLayout();
  if (!layout.valid()) return Hdf5Error("layout", path);
  const Hdf5Handle space(H5Screate_simple(static_cast<int>(shape.size()), shape.data(), nullptr));
  RETURN_IF_HDF5_ERROR(space.get(), path);
  Hdf5Handle dataset(H5Dcreate2(file, name, type, space.get(), H5P_DEFAULT, layout.get(), H5P_DEFAULT));
  if (!dataset.valid()) return Hdf5Error(absl::StrCat("creating ", name), path);
  return dataset;
}

absl::Status WriteDataset(hid_t file, const char* name, hid_t type, hsize_t count, const void* values,
                          const std::string& path) {
  ASSIGN_OR_RETURN(Hdf5Handle dataset, CreateDataset(file, name, type, {count}, path));
  RETURN_IF_HDF5_ERROR(H5Dwrite(dataset.get(), type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values), path);
  return absl::OkStatus();
}

absl::Status WriteAttribute(hid_t file, const char* name, hid_t type, const void* value,
                            const std::string& path) {
  const Hdf5Handle space(H5Screate(H5S_SCALAR));
  RETURN_IF_HDF5_ERROR(space.get(), path);
  const Hdf5Handle attribute(H5Acreate2(file, name, type, space.get(), H5P_DEFAULT, H5P_DEFAULT));
  RETURN_IF_HDF5_ERROR(attribute.get(), path);
  RETURN_IF_HDF5_ERROR(H5Awrite(attribute.get(), type, value), path);
  return absl::OkStatus();
}

}  // namespace

void ShardWriter::Reserve(int64_t frame_bytes) { frames_.reserve(static_cast<size_t>(frame_bytes)); }

void ShardWriter::Add(const std::string& utterance, int32_t speaker, std::span<const float> frames) {
  const size_t begin = frames_.size();
  frames_.resize(begin + frames.size() * static_cast<size_t>(DTypeBytes(dtype_)));
  if (dtype_ == DType::kFloat32) {
    std::memcpy(frames_.data() + begin, frames.data(), frames.size_bytes());
  } else {
    FloatToHalf(frames.data(), reinterpret_cast<uint16_t*>(frames_.data() + begin), frames.size());
  }
  offsets_.push_back(offsets_.back() + static_cast<int64_t>(frames.size()) / n_mels_);
  speakers_.push_back(speaker);
  names_.push_back(utterance);
  checksums_.push_back(Checksum(frames_.data() + begin, frames_.size() - begin));
}

std::vector<char> ShardWriter::PackedNames(size_t* width) const {
  *width = 1;
  for (const std::string& name : names_) *width = std::max(*width, name.size());
  std::vector<char> packed(names_.size() * *width, '\0');
  for (size_t i = 0; i < names_.size(); ++i) {
    std::copy(names_[i].begin(), names_[i].end(), packed.begin() + static_cast<std::ptrdiff_t>(i * *width));
  }
  return packed;
}

absl::StatusOr<ShardInfo> ShardWriter::Write(const std::string& folder, int64_t shard) {
  const std::string path = (std::filesystem::path(folder) / ShardName(shard)).string();
  const std::string temporary = path + ".tmp";
  absl::StatusOr<ShardInfo> info = WriteFile(temporary, shard);
  if (info.ok() && rename(temporary.c_str(), path.c_str()) != 0)
    info = ErrnoStatus(errno, "cannot rename to", path);
  if (!info.ok()) {
    unlink(temporary.c_str());
    return info;
  }
  frames_.clear();
  offsets_.assign(1, 0);
  speakers_.clear();
  names_.clear();
  checksums_.clear();
  return info;
}

absl::StatusOr<ShardInfo> ShardWriter::WriteFile(const std::string& path, int64_t shard) const {
  size_t width = 0;
  const std::vector<char> names = PackedNames(&width);
  ShardInfo info;
  info.utterances = utterances();
  info.frames = offsets_.back();
  {
    // A full disk shows here, where it has a plain errno, rather than inside HDF5.
    const UniqueFd probe(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    if (!probe.valid()) return ErrnoStatus(errno, "cannot create", path);
    const int64_t bytes =
        frame_bytes() + static_cast<int64_t>(names.size()) + info.utterances * 20 + kStructureBytes;
    if (fallocate(probe.get(), 0, 0, bytes) != 0 && errno != EOPNOTSUPP && errno != ENOSYS) {
      return ErrnoStatus(errno, "cannot write", path);
    }
  }
  RETURN_IF_ERROR(WriteStructure(path, shard, names, width, &info));

  const UniqueFd fd(open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!fd.valid()) return ErrnoStatus(errno, "cannot open", path);
  ASSIGN_OR_RETURN(info.bytes, FileSize(fd, path));
  const nlohmann::ordered_json block = {
      {"format", kShardFormat}, {"schema_version", kSchemaVersion}, {"shard", shard},
      {"n_mels", n_mels_},      {"dtype", DTypeName(dtype_)},       {"utterances", info.utterances},
      {"frames", info.frames}};
  std::string line = block.dump() + "\n";
  line.resize(kUserBlockBytes, '\0');
  RETURN_IF_ERROR(PwriteAll(fd.get(), line.data(), line.size(), 0, path));
  RETURN_IF_ERROR(PwriteAll(fd.get(), frames_.data(), frames_.size(), info.frames_offset, path));
  ASSIGN_OR_RETURN(info.layout_checksum, LayoutChecksum(fd.get(), info, frame_bytes(), path));
  if (fsync(fd.get()) != 0) return ErrnoStatus(errno, "cannot sync", path);
  return info;
}

// The HDF5 file with everything but the frames, for which it holds the place.
absl::Status ShardWriter::WriteStructure(const std::string& path, int64_t shard,
                                         const std::vector<char>& names, size_t name_width,
                                         ShardInfo* info) const {
  ChecksumStream checksum;
  checksum.Update(offsets_.data(), offsets_.size() * sizeof(int64_t));
  checksum.Update(speakers_.data(), speakers_.size() * sizeof(int32_t));
  checksum.Update(names.data(), names.size());
  checksum.Update(checksums_.data(), checksums_.size() * sizeof(uint64_t));
  info->checksum = checksum.Digest();

  const Hdf5Lock lock;
  errno = 0;
  const Hdf5Handle creation(H5Pcreate(H5P_FILE_CREATE));
  RETURN_IF_HDF5_ERROR(creation.get(), path);
  RETURN_IF_HDF5_ERROR(H5Pset_userblock(creation.get(), kUserBlockBytes), path);
  RETURN_IF_HDF5_ERROR(H5Pset_obj_track_times(creation.get(), false), path);
  const Hdf5Handle access(H5Pcreate(H5P_FILE_ACCESS));
  RETURN_IF_HDF5_ERROR(access.get(), path);
  RETURN_IF_HDF5_ERROR(H5Pset_libver_bounds(access.get(), H5F_LIBVER_V18, H5F_LIBVER_LATEST), path);
  RETURN_IF_HDF5_ERROR(H5Pset_alignment(access.get(), 4096, 4096), path);
  Hdf5Handle file(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, creation.get(), access.get()));
  RETURN_IF_HDF5_ERROR(file.get(), path);

  const hsize_t count = static_cast<hsize_t>(info->utterances);
  RETURN_IF_ERROR(WriteAttribute(file.get(), kAttrSchema, H5T_STD_I64LE, &kSchemaVersion, path));
  RETURN_IF_ERROR(WriteAttribute(file.get(), kAttrShard, H5T_STD_I64LE, &shard, path));
  RETURN_IF_ERROR(WriteAttribute(file.get(), kAttrCount, H5T_STD_I64LE, &info->utterances, path));
  RETURN_IF_ERROR(WriteAttribute(file.get(), kAttrChecksum, H5T_STD_U64LE, &info->checksum, path));
  RETURN_IF_ERROR(WriteDataset(file.get(), kOffsets, H5T_STD_I64LE, count + 1, offsets_.data(), path));
  RETURN_IF_ERROR(WriteDataset(file.get(), kSpeaker, H5T_STD_I32LE, count, speakers_.data(), path));
  RETURN_IF_ERROR(WriteDataset(file.get(), kFrameChecksum, H5T_STD_U64LE, count, checksums_.data(), path));
  const Hdf5Handle text(H5Tcopy(H5T_C_S1));
  RETURN_IF_HDF5_ERROR(text.get(), path);
  RETURN_IF_HDF5_ERROR(H5Tset_size(text.get(), name_width), path);
  RETURN_IF_HDF5_ERROR(H5Tset_strpad(text.get(), H5T_STR_NULLPAD), path);
  RETURN_IF_HDF5_ERROR(H5Tset_cset(text.get(), H5T_CSET_UTF8), path);
  RETURN_IF_ERROR(WriteDataset(file.get(), kUtterance, text.get(), count, names.data(), path));
  {
    const Hdf5Handle type = dtype_ == DType::kFloat32 ? Hdf5Handle(H5Tcopy(H5T_IEEE_F32LE)) : Hdf5HalfType();
    RETURN_IF_HDF5_ERROR(type.get(), path);
    ASSIGN_OR_RETURN(
        const Hdf5Handle frames,
        CreateDataset(file.get(), kFrames, type.get(),
                      {static_cast<hsize_t>(info->frames), static_cast<hsize_t>(n_mels_)}, path));
    const haddr_t offset = H5Dget_offset(frames.get());
    if (offset == HADDR_UNDEF) return Hdf5Error("H5Dget_offset", path);
    info->frames_offset = static_cast<int64_t>(offset);
  }
  if (!file.Close()) return Hdf5Error("H5Fclose", path);
  return absl::OkStatus();
}

}  // namespace data
