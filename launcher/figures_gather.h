#pragma once

// A few numbers of every rank for rank 0, now and then, without anybody waiting for anybody.

#include <mpi.h>

#include <memory>
#include <optional>
#include <vector>

#include "launcher/mpi_session.h"

namespace launcher {

// Every rank makes one at the same point and calls Start() the same number of times with as many numbers. It
// talks on an MPI communicator of its own, so other calls may come in between. One thread. Destroy it before
// the MpiSession ends. Throws Error where MPI fails.
class FiguresGather {
 public:
  FiguresGather(const World& world, size_t count);
  ~FiguresGather();
  FiguresGather(const FiguresGather&) = delete;
  FiguresGather& operator=(const FiguresGather&) = delete;

  // Sends `figures`, of which there must be `count`, on their way. Waits for the previous ones first, should
  // some rank be behind by so much.
  void Start(const std::vector<double>& figures);

  // On rank 0, once: the figures of all ranks in the order of ranks, if those of the last Start() have all
  // arrived (`wait`: waits for them). Nothing on other ranks.
  std::optional<std::vector<std::vector<double>>> Take(bool wait = false);

 private:
  const int size_;
  const bool root_;
  const size_t count_;
  MPI_Comm comm_ = MPI_COMM_NULL;
  MPI_Request request_ = MPI_REQUEST_NULL;
  bool untaken_ = false;
  struct Buffers {
    std::vector<double> sent;      // (count)
    std::vector<double> received;  // rank 0: (size * count)
  };
  std::unique_ptr<Buffers> buffers_;  // MPI's while request_ is open
};

}  // namespace launcher
