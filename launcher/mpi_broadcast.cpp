#include "launcher/mpi_broadcast.h"

#include <algorithm>
#include <climits>

#include "launcher/error.h"
#include "launcher/mpi_wait.h"
#include "launcher/waiting.h"

namespace launcher::internal {

void BroadcastOverMpi(torch::Tensor tensor, int root, int size, MPI_Comm comm) {
  LAUNCHER_REQUIRE(tensor.device().is_cpu() && tensor.is_contiguous(),
                   "Broadcast takes contiguous tensors on this communicator's device");
  LAUNCHER_REQUIRE(root >= 0 && root < size, "Root must be a rank");
  const WaitingForRanks waiting;
  constexpr char kHint[] = "Has another rank died, or broadcast a tensor of another size?";
  auto* bytes = static_cast<char*>(tensor.data_ptr());
  const auto total = static_cast<int64_t>(tensor.nbytes());
  for (int64_t at = 0; at < total;) {
    const int piece = static_cast<int>(std::min<int64_t>(total - at, INT_MAX));
    MPI_Request request = MPI_REQUEST_NULL;
    LAUNCHER_MPI(MPI_Ibcast(bytes + at, piece, MPI_BYTE, root, comm, &request), kHint);
    WaitAll(&request, 1, kHint);
    at += piece;
  }
}

}  // namespace launcher::internal
