#pragma once

// The one way in which this library waits for MPI's messages.

#include <mpi.h>

#include <atomic>

namespace launcher::internal {

// Waits, as Patience does, until all `count` requests are done (they become MPI_REQUEST_NULL) and returns
// true. Where `cancel` is given and becomes true it returns false with the requests still open. Throws Error
// with `hint` where MPI fails.
bool WaitAll(MPI_Request* requests, int count, const char* hint, const std::atomic<bool>* cancel = nullptr);

}  // namespace launcher::internal
