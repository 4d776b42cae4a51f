#include "launcher/mpi_wait.h"

#include "launcher/error.h"
#include "launcher/patience.h"

namespace launcher::internal {

bool WaitAll(MPI_Request* requests, int count, const char* hint, const std::atomic<bool>* cancel) {
  for (Patience patience;; patience.Wait()) {
    int done = 0;
    LAUNCHER_MPI(MPI_Testall(count, requests, &done, MPI_STATUSES_IGNORE), hint);
    if (done) return true;
    if (cancel != nullptr && cancel->load(std::memory_order_relaxed)) return false;
  }
}

}  // namespace launcher::internal
