#include "launcher/shared_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <random>
#include <string>

#include "launcher/error.h"
#include "launcher/fd.h"

namespace launcher::internal {
namespace {

constexpr char kMemoryHint[] = "Has another rank died, or asked for another size?";

// By which a part is known again: process numbers alone may mean another process in another container.
struct Mark {
  uint64_t random[2];
};

struct Part {
  int64_t process;
  int64_t file;  // its descriptor there; -1: that rank has none
  Mark mark;
};

// None where there is no memory.
Fd MakeFile(size_t bytes) {
  Fd file(memfd_create("gradients", MFD_CLOEXEC));
  // Now, by an error, rather than at the first write, by a signal.
  if (file.get() >= 0 && posix_fallocate(file.get(), 0, static_cast<off_t>(bytes)) != 0) return Fd();
  return file;
}

// Null where it cannot be mapped, or is smaller than that.
std::byte* Map(int file, size_t bytes) {
  struct stat found {};
  if (file < 0 || fstat(file, &found) != 0 || static_cast<size_t>(found.st_size) != bytes) return nullptr;
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  return memory == MAP_FAILED ? nullptr : static_cast<std::byte*>(memory);
}

Mark NewMark() {
  std::random_device random;
  Mark mark{};
  for (auto& value : mark.random) value = (uint64_t{random()} << 32) | random();
  return mark;
}

}  // namespace

std::unique_ptr<SharedMemory> SharedMemory::Make(MPI_Comm comm, size_t bytes) {
  int rank = 0, size = 1;
  LAUNCHER_MPI(MPI_Comm_rank(comm, &rank), kMemoryHint);
  LAUNCHER_MPI(MPI_Comm_size(comm, &size), kMemoryHint);
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t mapped = (bytes + sizeof(Mark) + page - 1) / page * page;
  const auto mark_of = [&](std::byte* part) { return part + mapped - sizeof(Mark); };
  std::unique_ptr<SharedMemory> memory(new SharedMemory(bytes, mapped));
  memory->parts_.resize(static_cast<size_t>(size), nullptr);

  const Fd file = MakeFile(mapped);
  Part own{getpid(), file.get(), NewMark()};
  auto& mine = memory->parts_[static_cast<size_t>(rank)];
  mine = Map(file.get(), mapped);
  if (mine != nullptr) {
    std::memcpy(mark_of(mine), &own.mark, sizeof own.mark);
  } else {
    own.file = -1;
  }
  std::vector<Part> parts(static_cast<size_t>(size));
  LAUNCHER_MPI(MPI_Allgather(&own, sizeof own, MPI_BYTE, parts.data(), sizeof own, MPI_BYTE, comm),
               kMemoryHint);

  int all_seen = 1;
  for (int other = 0; other < size; ++other) {
    const Part& part = parts[static_cast<size_t>(other)];
    auto& seen = memory->parts_[static_cast<size_t>(other)];
    if (other != rank && part.file >= 0) {
      const auto path = "/proc/" + std::to_string(part.process) + "/fd/" + std::to_string(part.file);
      const Fd theirs(open(path.c_str(), O_RDWR | O_CLOEXEC));
      seen = Map(theirs.get(), mapped);
    }
    if (seen == nullptr || std::memcmp(mark_of(seen), &part.mark, sizeof part.mark) != 0) all_seen = 0;
  }
  // Also keeps each rank's file open until the others have it.
  LAUNCHER_MPI(MPI_Allreduce(MPI_IN_PLACE, &all_seen, 1, MPI_INT, MPI_MIN, comm), kMemoryHint);
  return all_seen == 1 ? std::move(memory) : nullptr;
}

SharedMemory::~SharedMemory() {
  for (auto* part : parts_) {
    if (part != nullptr) munmap(part, mapped_);
  }
}

}  // namespace launcher::internal
