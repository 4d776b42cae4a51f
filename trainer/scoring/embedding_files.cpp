#include "trainer/scoring/embedding_files.h"

#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <stdexcept>

#include "absl/strings/str_cat.h"
#include "data/files.h"
#include "data/hdf5_handle.h"
#include "data/status_macros.h"

namespace trainer::scoring {
namespace {

using data::Hdf5Handle;

static_assert(std::endian::native == std::endian::little, "floats are written as they lie in memory");

Hdf5Handle TextType(size_t width) {
  Hdf5Handle type(H5Tcopy(H5T_C_S1));
  const bool ok = type.valid() && H5Tset_size(type.get(), std::max<size_t>(width, 1)) >= 0 &&
                  H5Tset_strpad(type.get(), H5T_STR_NULLPAD) >= 0 &&
                  H5Tset_cset(type.get(), H5T_CSET_UTF8) >= 0;
  if (!ok) return Hdf5Handle();
  return type;
}

absl::Status WriteDataset(hid_t file, const char* name, hid_t type, const std::vector<hsize_t>& shape,
                          const void* values, const std::string& path) {
  RETURN_IF_HDF5_ERROR(type, path);
  const Hdf5Handle properties(H5Pcreate(H5P_DATASET_CREATE));
  RETURN_IF_HDF5_ERROR(properties.get(), path);
  // Times in the file would make equal files differ.
  RETURN_IF_HDF5_ERROR(H5Pset_obj_track_times(properties.get(), false), path);
  const Hdf5Handle space(H5Screate_simple(static_cast<int>(shape.size()), shape.data(), nullptr));
  RETURN_IF_HDF5_ERROR(space.get(), path);
  const Hdf5Handle dataset(
      H5Dcreate2(file, name, type, space.get(), H5P_DEFAULT, properties.get(), H5P_DEFAULT));
  RETURN_IF_HDF5_ERROR(dataset.get(), path);
  RETURN_IF_HDF5_ERROR(H5Dwrite(dataset.get(), type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values), path);
  return absl::OkStatus();
}

absl::Status WriteNames(hid_t file, const char* name, const std::vector<std::string>& names,
                        const std::string& path) {
  size_t width = 1;
  for (const auto& text : names) width = std::max(width, text.size());
  std::vector<char> packed(names.size() * width, '\0');
  for (size_t i = 0; i < names.size(); ++i) {
    std::copy(names[i].begin(), names[i].end(), packed.begin() + static_cast<std::ptrdiff_t>(i * width));
  }
  const Hdf5Handle type = TextType(width);
  return WriteDataset(file, name, type.get(), {names.size()}, packed.data(), path);
}

absl::Status WriteFile(const EmbeddingTable& table, const std::string& checkpoint, const std::string& path) {
  const data::Hdf5Lock lock;
  errno = 0;
  const Hdf5Handle creation(H5Pcreate(H5P_FILE_CREATE));
  RETURN_IF_HDF5_ERROR(creation.get(), path);
  RETURN_IF_HDF5_ERROR(H5Pset_obj_track_times(creation.get(), false), path);
  Hdf5Handle file(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, creation.get(), H5P_DEFAULT));
  RETURN_IF_HDF5_ERROR(file.get(), path);
  const Hdf5Handle floats(H5Tcopy(H5T_IEEE_F32LE));
  RETURN_IF_ERROR(WriteDataset(file.get(), "embeddings", floats.get(),
                               {table.ids.size(), static_cast<hsize_t>(table.width)}, table.values.data(),
                               path));
  RETURN_IF_ERROR(WriteNames(file.get(), "utterance", table.ids, path));
  RETURN_IF_ERROR(WriteNames(file.get(), "speaker", table.speakers, path));
  {
    const Hdf5Handle type = TextType(checkpoint.size());
    RETURN_IF_HDF5_ERROR(type.get(), path);
    const Hdf5Handle space(H5Screate(H5S_SCALAR));
    RETURN_IF_HDF5_ERROR(space.get(), path);
    const Hdf5Handle attribute(
        H5Acreate2(file.get(), "checkpoint", type.get(), space.get(), H5P_DEFAULT, H5P_DEFAULT));
    RETURN_IF_HDF5_ERROR(attribute.get(), path);
    RETURN_IF_HDF5_ERROR(H5Awrite(attribute.get(), type.get(), checkpoint.data()), path);
  }
  if (!file.Close()) return data::Hdf5Error("H5Fclose", path);
  return absl::OkStatus();
}

absl::Status Sync(const std::string& path) {
  ASSIGN_OR_RETURN(const data::UniqueFd fd, data::OpenForRead(path));
  if (fsync(fd.get()) != 0) return data::ErrnoStatus(errno, "cannot sync", path);
  return absl::OkStatus();
}

}  // namespace

std::string NpyBytes(std::span<const float> values, int64_t rows, int64_t columns) {
  if (static_cast<int64_t>(values.size()) != rows * columns)
    throw std::invalid_argument("not (rows, columns)");
  std::string header =
      absl::StrCat("{'descr': '<f4', 'fortran_order': False, 'shape': (", rows, ", ", columns, "), }");
  constexpr size_t kBefore = 10;  // magic, version, length
  // The values begin at a multiple of 64 bytes, and the header ends with a line end.
  header.resize((kBefore + header.size() + 1 + 63) / 64 * 64 - kBefore - 1, ' ');
  header += '\n';
  std::string bytes("\x93NUMPY\x01\x00", 8);
  bytes += static_cast<char>(header.size() & 0xFF);
  bytes += static_cast<char>(header.size() >> 8);
  bytes += header;
  bytes.append(reinterpret_cast<const char*>(values.data()), values.size_bytes());
  return bytes;
}

absl::Status WriteEmbeddingHdf5(const EmbeddingTable& table, const std::string& checkpoint,
                                const std::string& path) {
  const std::string temporary = path + ".tmp";
  absl::Status status = WriteFile(table, checkpoint, temporary);
  if (status.ok()) status = Sync(temporary);
  if (status.ok() && rename(temporary.c_str(), path.c_str()) != 0) {
    status = data::ErrnoStatus(errno, "cannot rename to", path);
  }
  if (!status.ok()) {
    unlink(temporary.c_str());
    return status;
  }
  const std::string folder = std::filesystem::path(path).parent_path().string();
  return data::SyncFolder(folder.empty() ? "." : folder);
}

}  // namespace trainer::scoring
