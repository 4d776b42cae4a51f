#pragma once

// Whether the main thread waits for other ranks inside this library's small collectives: for the Watchdog, to
// which a rank that waits is not a late one.

#include <atomic>

namespace launcher::internal {

inline std::atomic<int> waiting_for_ranks{0};

class WaitingForRanks {
 public:
  WaitingForRanks() { waiting_for_ranks.fetch_add(1, std::memory_order_relaxed); }
  ~WaitingForRanks() { waiting_for_ranks.fetch_sub(1, std::memory_order_relaxed); }
  WaitingForRanks(const WaitingForRanks&) = delete;
  WaitingForRanks& operator=(const WaitingForRanks&) = delete;
};

}  // namespace launcher::internal
