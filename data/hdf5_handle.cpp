#include "data/hdf5_handle.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace data {
namespace {

std::mutex& Hdf5Mutex() {
  static std::mutex mutex;
  return mutex;
}

void SetUpOnce() {
  static const bool done = [] {
    // At exit HDF5 would try again to flush files whose disk was full, in vain and noisily.
    H5dont_atexit();
    H5open();
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
    return true;
  }();
  (void)done;
}

herr_t KeepInnermost(unsigned, const H5E_error2_t* error, void* out) {
  *static_cast<std::string*>(out) = error->desc != nullptr ? error->desc : "";
  return 0;
}

}  // namespace

Hdf5Handle::~Hdf5Handle() { Close(); }

bool Hdf5Handle::Close() {
  if (id_ < 0) return true;
  const hid_t id = id_;
  id_ = H5I_INVALID_HID;
  switch (H5Iget_type(id)) {
    case H5I_FILE:
      return H5Fclose(id) >= 0;
    case H5I_DATASET:
      return H5Dclose(id) >= 0;
    case H5I_DATASPACE:
      return H5Sclose(id) >= 0;
    case H5I_DATATYPE:
      return H5Tclose(id) >= 0;
    case H5I_ATTR:
      return H5Aclose(id) >= 0;
    case H5I_GENPROP_LST:
      return H5Pclose(id) >= 0;
    default:
      return H5Idec_ref(id) >= 0;
  }
}

Hdf5Lock::Hdf5Lock() : lock_(Hdf5Mutex()) { SetUpOnce(); }

absl::Status Hdf5Error(const std::string& what, const std::string& path) {
  const int error = errno;
  std::string innermost = "no details";
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, KeepInnermost, &innermost);
  // Walking upward ends at the outermost call; downward ends at the cause.
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, KeepInnermost, &innermost);
  if (error == ENOSPC || error == EDQUOT) {
    return absl::ResourceExhaustedError(absl::StrCat("cannot write ", path, ": ", std::strerror(error),
                                                     "; free space there or choose another folder"));
  }
  // Some of the library's texts have line ends in them.
  std::replace(innermost.begin(), innermost.end(), '\n', ' ');
  return absl::DataLossError(absl::StrCat("HDF5 failed on ", path, ": ", innermost, " (", what, ")"));
}

Hdf5Handle Hdf5HalfType() {
  Hdf5Handle type(H5Tcopy(H5T_IEEE_F32LE));
  // Fields before size: HDF5 checks that they fit at each step.
  const bool ok = type.valid() && H5Tset_fields(type.get(), 15, 10, 5, 0, 10) >= 0 &&
                  H5Tset_size(type.get(), 2) >= 0 && H5Tset_ebias(type.get(), 15) >= 0;
  if (!ok) return Hdf5Handle();
  return type;
}

}  // namespace data
