#pragma once

// The one way in which this library waits for other ranks.

#include <mpi.h>

#include <atomic>

namespace launcher::internal {

// Waits until all `count` requests are done (they become MPI_REQUEST_NULL) and returns true. Where `cancel`
// is given and becomes true it returns false with the requests still open. Throws Error with `hint` where MPI
// fails.
//
// Note [Waiting without burning a core]
// CPU ranks have no core to spare: whoever spins inside MPI while a peer is late takes time from computing,
// on this rank or on that very peer. So it tests 200 times, giving the core away in between, then naps for 20
// us between tests, and after 100 of those for 100 us: measured on a loaded virtual machine, 9% of a core
// while waiting for seconds. Napping from the start would cost a sum of 100 KB 0.35 ms.
bool WaitAll(MPI_Request* requests, int count, const char* hint, const std::atomic<bool>* cancel = nullptr);

}  // namespace launcher::internal
