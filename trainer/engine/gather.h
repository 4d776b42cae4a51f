// Any number of plain records from all ranks to rank 0.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

#include "launcher/control.h"
#include "launcher/mpi_session.h"

namespace trainer::engine {

// All ranks' records on rank 0, in the order of ranks; nothing on the others. Collective. Sends them in
// rounds of at most 256 MiB over all ranks, for a collective takes less than 2 GiB. The ranks' machines must
// store T alike.
template <typename T>
std::vector<T> GatherRecords(const launcher::World& world, const std::vector<T>& mine) {
  static_assert(std::is_trivially_copyable_v<T>);
  constexpr size_t kRoundBytes = size_t{256} << 20;
  const size_t piece = std::max<size_t>(1, kRoundBytes / static_cast<size_t>(world.size) / sizeof(T));
  size_t most = 0, total = 0;
  std::vector<size_t> begins;  // of each rank's records
  for (const auto& count : launcher::AllGatherStrings(std::to_string(mine.size()))) {
    begins.push_back(total);
    most = std::max<size_t>(most, std::stoull(count));
    total += std::stoull(count);
  }
  std::vector<T> all(world.rank == 0 ? total : 0);
  for (size_t at = 0; at < most; at += piece) {
    const size_t count = at < mine.size() ? std::min(piece, mine.size() - at) : 0;
    std::string bytes(count * sizeof(T), '\0');
    if (count > 0) std::memcpy(bytes.data(), mine.data() + at, bytes.size());
    const auto pieces = launcher::GatherStrings(bytes, 0);
    for (size_t rank = 0; rank < pieces.size(); ++rank) {
      if (!pieces[rank].empty()) {
        std::memcpy(all.data() + begins[rank] + at, pieces[rank].data(), pieces[rank].size());
      }
    }
  }
  return all;
}

}  // namespace trainer::engine
