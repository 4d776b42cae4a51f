#pragma once

// Communicator::Broadcast of CPU ranks.

#include <mpi.h>
#include <torch/types.h>

namespace launcher::internal {

// Root's contents in `tensor` (contiguous, on the CPU) on every rank of `comm`, which has `size` of them.
// Blocks. Throws Error.
void BroadcastOverMpi(torch::Tensor tensor, int root, int size, MPI_Comm comm);

}  // namespace launcher::internal
