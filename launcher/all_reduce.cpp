#include "launcher/all_reduce.h"

#include <algorithm>

#include "launcher/error.h"
#include "launcher/mpi_wait.h"

namespace launcher::internal {
namespace {

// Longer slices go piece by piece: MPI counts in int, and the receive buffer stays small.
constexpr int64_t kSegmentFloats = int64_t{16} << 20;

constexpr int kSumTag = 1;
constexpr int kCopyTag = 2;
constexpr char kReductionHint[] = "Has another rank died, or started its reductions in another order?";

}  // namespace

RingAllReduce::RingAllReduce(MPI_Comm comm) : comm_(comm) {
  LAUNCHER_MPI(MPI_Comm_rank(comm, &rank_), kReductionHint);
  LAUNCHER_MPI(MPI_Comm_size(comm, &size_), kReductionHint);
}

bool RingAllReduce::Run(float* data, int64_t count, const std::atomic<bool>& cancel) {
  for (int64_t at = 0; at < count; at += kSegmentFloats) {
    if (!RunSegment(data + at, std::min(kSegmentFloats, count - at), cancel)) return false;
  }
  return true;
}

bool RingAllReduce::RunSegment(float* data, int64_t count, const std::atomic<bool>& cancel) {
  // Piece p is [begin(p), begin(p + 1)); pieces may be empty.
  const auto begin = [&](int piece) { return count * piece / size_; };
  const auto length = [&](int piece) { return begin(piece + 1) - begin(piece); };
  const auto wrap = [&](int piece) { return (piece + size_) % size_; };
  received_.resize(std::max(received_.size(), static_cast<size_t>((count + size_ - 1) / size_)));

  // Sums: in round k this rank passes on piece rank - k, with its own numbers in it, and adds what comes to
  // the piece before. After the last round it holds the finished piece rank + 1.
  for (int round = 0; round + 1 < size_; ++round) {
    const int out = wrap(rank_ - round);
    const int in = wrap(rank_ - round - 1);
    if (!Exchange(data + begin(out), length(out), received_.data(), length(in), kSumTag, cancel))
      return false;
    float* sum = data + begin(in);
    for (int64_t i = 0; i < length(in); ++i) sum[i] += received_[i];
  }
  // Copies: the finished pieces go around once more.
  for (int round = 0; round + 1 < size_; ++round) {
    const int out = wrap(rank_ + 1 - round);
    const int in = wrap(rank_ - round);
    if (!Exchange(data + begin(out), length(out), data + begin(in), length(in), kCopyTag, cancel))
      return false;
  }
  return true;
}

bool RingAllReduce::Exchange(const float* out, int64_t out_count, float* in, int64_t in_count, int tag,
                             const std::atomic<bool>& cancel) {
  const int next = (rank_ + 1) % size_;
  const int before = (rank_ + size_ - 1) % size_;
  MPI_Request requests[2];
  LAUNCHER_MPI(MPI_Irecv(in, static_cast<int>(in_count), MPI_FLOAT, before, tag, comm_, &requests[0]),
               kReductionHint);
  LAUNCHER_MPI(MPI_Isend(out, static_cast<int>(out_count), MPI_FLOAT, next, tag, comm_, &requests[1]),
               kReductionHint);
  return WaitAll(requests, 2, kReductionHint, &cancel);
}

}  // namespace launcher::internal
