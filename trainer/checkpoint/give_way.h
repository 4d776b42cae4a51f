#pragma once

#include <sys/resource.h>

namespace trainer::checkpoint {

// Lets training go before the calling thread (of this thread alone, under Linux). Where it fails, the thread
// just takes as much of a core as others do.
inline void GiveWayToTraining() {
  constexpr int kNice = 10;
  (void)setpriority(PRIO_PROCESS, 0, kNice);
}

}  // namespace trainer::checkpoint
