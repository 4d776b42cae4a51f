#include "launcher/control.h"

#include <mpi.h>

#include <algorithm>
#include <climits>

#include "absl/strings/str_cat.h"
#include "launcher/error.h"
#include "launcher/mpi_wait.h"
#include "launcher/waiting.h"

namespace launcher {
namespace {

constexpr char kCollectiveHint[] = "Has another rank died, or does it call other collectives than this one?";

void Wait(MPI_Request request) {
  const internal::WaitingForRanks waiting;
  internal::WaitAll(&request, 1, kCollectiveHint);
}

int CountOfRanks() {
  int size = 1;
  LAUNCHER_MPI(MPI_Comm_size(MPI_COMM_WORLD, &size), kCollectiveHint);
  return size;
}

int OwnRank() {
  int rank = 0;
  LAUNCHER_MPI(MPI_Comm_rank(MPI_COMM_WORLD, &rank), kCollectiveHint);
  return rank;
}

template <typename T>
std::vector<T> AllGather(T value, MPI_Datatype type) {
  std::vector<T> values(CountOfRanks());
  MPI_Request request = MPI_REQUEST_NULL;
  LAUNCHER_MPI(MPI_Iallgather(&value, 1, type, values.data(), 1, type, MPI_COMM_WORLD, &request),
               kCollectiveHint);
  Wait(request);
  return values;
}

// The sizes of all ranks' strings, and where each begins once they lie one after the other.
struct Layout {
  std::vector<int> sizes;
  std::vector<int> offsets;
  int64_t total = 0;

  explicit Layout(const std::vector<int64_t>& lengths) {
    for (const int64_t length : lengths) {
      offsets.push_back(static_cast<int>(total));
      sizes.push_back(static_cast<int>(length));
      total += length;
      LAUNCHER_REQUIRE(total <= INT_MAX, "Strings of 2 GiB and more in all are not for this function");
    }
  }

  std::vector<std::string> Cut(const std::string& all) const {
    std::vector<std::string> strings;
    for (size_t i = 0; i < sizes.size(); ++i) strings.push_back(all.substr(offsets[i], sizes[i]));
    return strings;
  }
};

}  // namespace

absl::Status AgreeOn(const World& world, const absl::Status& mine) {
  if (world.size == 1) return mine;
  int first = mine.ok() ? world.size : world.rank;
  MPI_Request request = MPI_REQUEST_NULL;
  LAUNCHER_MPI(MPI_Iallreduce(MPI_IN_PLACE, &first, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD, &request),
               kCollectiveHint);
  Wait(request);
  if (first == world.size) return absl::OkStatus();

  int code = mine.raw_code();
  LAUNCHER_MPI(MPI_Ibcast(&code, 1, MPI_INT, first, MPI_COMM_WORLD, &request), kCollectiveHint);
  Wait(request);
  const std::string message =
      BroadcastString(absl::StrCat("rank ", world.rank, " on ", world.host, ": ", mine.message()), first);
  return absl::Status(static_cast<absl::StatusCode>(code), message);
}

std::string BroadcastString(const std::string& value, int root) {
  int64_t length = static_cast<int64_t>(value.size());
  MPI_Request request = MPI_REQUEST_NULL;
  LAUNCHER_MPI(MPI_Ibcast(&length, 1, MPI_INT64_T, root, MPI_COMM_WORLD, &request), kCollectiveHint);
  Wait(request);
  std::string result = OwnRank() == root ? value : std::string(length, '\0');
  for (int64_t at = 0; at < length;) {
    const int piece = static_cast<int>(std::min<int64_t>(length - at, INT_MAX));
    LAUNCHER_MPI(MPI_Ibcast(result.data() + at, piece, MPI_BYTE, root, MPI_COMM_WORLD, &request),
                 kCollectiveHint);
    Wait(request);
    at += piece;
  }
  return result;
}

std::vector<std::string> GatherStrings(const std::string& value, int root) {
  const Layout layout(AllGather<int64_t>(static_cast<int64_t>(value.size()), MPI_INT64_T));
  const bool is_root = OwnRank() == root;
  std::string all(is_root ? layout.total : 0, '\0');
  MPI_Request request = MPI_REQUEST_NULL;
  LAUNCHER_MPI(
      MPI_Igatherv(value.data(), static_cast<int>(value.size()), MPI_BYTE, all.data(), layout.sizes.data(),
                   layout.offsets.data(), MPI_BYTE, root, MPI_COMM_WORLD, &request),
      kCollectiveHint);
  Wait(request);
  return is_root ? layout.Cut(all) : std::vector<std::string>();
}

std::vector<std::string> AllGatherStrings(const std::string& value) {
  const Layout layout(AllGather<int64_t>(static_cast<int64_t>(value.size()), MPI_INT64_T));
  std::string all(layout.total, '\0');
  MPI_Request request = MPI_REQUEST_NULL;
  LAUNCHER_MPI(
      MPI_Iallgatherv(value.data(), static_cast<int>(value.size()), MPI_BYTE, all.data(), layout.sizes.data(),
                      layout.offsets.data(), MPI_BYTE, MPI_COMM_WORLD, &request),
      kCollectiveHint);
  Wait(request);
  return layout.Cut(all);
}

std::vector<double> AllReduceSum(const std::vector<double>& values) {
  LAUNCHER_REQUIRE(AllEqual(values.size()), "AllReduceSum: every rank must give as many numbers");
  const size_t count = values.size();
  LAUNCHER_REQUIRE(count <= INT_MAX, "AllReduceSum is for a few numbers");
  std::vector<double> all(count * CountOfRanks());
  MPI_Request request = MPI_REQUEST_NULL;
  LAUNCHER_MPI(MPI_Iallgather(values.data(), static_cast<int>(count), MPI_DOUBLE, all.data(),
                              static_cast<int>(count), MPI_DOUBLE, MPI_COMM_WORLD, &request),
               kCollectiveHint);
  Wait(request);
  std::vector<double> sums(count, 0.0);
  for (size_t i = 0; i < all.size(); ++i) sums[i % count] += all[i];
  return sums;
}

bool AllEqual(uint64_t value) {
  // The complement's maximum is the complement of the minimum: one reduction gives both.
  uint64_t extremes[2] = {value, ~value};
  MPI_Request request = MPI_REQUEST_NULL;
  LAUNCHER_MPI(MPI_Iallreduce(MPI_IN_PLACE, extremes, 2, MPI_UINT64_T, MPI_MAX, MPI_COMM_WORLD, &request),
               kCollectiveHint);
  Wait(request);
  return extremes[0] == ~extremes[1];
}

void Barrier() {
  MPI_Request request = MPI_REQUEST_NULL;
  LAUNCHER_MPI(MPI_Ibarrier(MPI_COMM_WORLD, &request), kCollectiveHint);
  Wait(request);
}

}  // namespace launcher
