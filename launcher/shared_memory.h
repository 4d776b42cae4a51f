#pragma once

// Memory that the ranks of one host see of each other.
//
// Note [No name anywhere]
// Each rank makes its part as a file without a name (memfd_create) and the others open it by way of /proc, so
// that nothing is left behind by a process that is killed, and the size of /dev/shm is no limit. Where they
// may not (other process numbers in another container, hardened kernels), Make() says so and callers do
// without.

#include <mpi.h>

#include <cstddef>
#include <memory>
#include <vector>

namespace launcher::internal {

class SharedMemory {
 public:
  // `bytes` of each rank of `comm`, all of which are on one host; zeros at first. Collective. Null, on every
  // rank, where one of them cannot: no memory, or not allowed.
  static std::unique_ptr<SharedMemory> Make(MPI_Comm comm, size_t bytes);

  // Takes it from this rank's sight; the others keep theirs.
  ~SharedMemory();
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  // The part of `rank`, on a page boundary.
  std::byte* of(int rank) const { return parts_[static_cast<size_t>(rank)]; }
  size_t bytes() const { return bytes_; }

 private:
  SharedMemory(size_t bytes, size_t mapped) : bytes_(bytes), mapped_(mapped) {}

  size_t bytes_;
  size_t mapped_;  // the same, the mark and whole pages
  std::vector<std::byte*> parts_;
};

}  // namespace launcher::internal
