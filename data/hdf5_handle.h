#pragma once

#include <hdf5.h>

#include <mutex>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace data {

// Owns one HDF5 identifier of any kind. Only while an Hdf5Lock is held.
class Hdf5Handle {
 public:
  Hdf5Handle() = default;
  explicit Hdf5Handle(hid_t id) : id_(id) {}
  Hdf5Handle(Hdf5Handle&& other) noexcept : id_(other.id_) { other.id_ = H5I_INVALID_HID; }
  Hdf5Handle& operator=(Hdf5Handle&&) = delete;
  ~Hdf5Handle();

  hid_t get() const { return id_; }
  bool valid() const { return id_ >= 0; }
  // Closes now; false where HDF5 could not (for a file: not all of it was written).
  bool Close();

 private:
  hid_t id_ = H5I_INVALID_HID;
};

// Held around every use of HDF5: the library as distributed is not thread-safe. Also silences its own error
// printing.
class Hdf5Lock {
 public:
  Hdf5Lock();

 private:
  std::lock_guard<std::mutex> lock_;
};

// HDF5's innermost description of the last failure: "<what> <path>: <description>", kResourceExhausted where
// errno says that the disk is full, kDataLoss otherwise.
absl::Status Hdf5Error(const std::string& what, const std::string& path);

// Evaluates a call that returns something negative on failure.
#define RETURN_IF_HDF5_ERROR(expression, path)                         \
  do {                                                                 \
    if ((expression) < 0) return ::data::Hdf5Error(#expression, path); \
  } while (false)

// IEEE binary16, little-endian.
Hdf5Handle Hdf5HalfType();

}  // namespace data
