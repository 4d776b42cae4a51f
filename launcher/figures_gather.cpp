#include "launcher/figures_gather.h"

#include "launcher/error.h"
#include "launcher/mpi_wait.h"

namespace launcher {
namespace {
constexpr char kGatherHint[] = "Has another rank died?";
}

FiguresGather::FiguresGather(const World& world, size_t count)
    : size_(world.size), root_(world.rank == 0), count_(count), buffers_(std::make_unique<Buffers>()) {
  if (root_) buffers_->received.resize(static_cast<size_t>(size_) * count);
  if (size_ > 1) LAUNCHER_MPI(MPI_Comm_dup(MPI_COMM_WORLD, &comm_), kGatherHint);
}

FiguresGather::~FiguresGather() {
  if (request_ != MPI_REQUEST_NULL) {
    // MPI may still read and write these: they must outlive the process.
    static_cast<void>(buffers_.release());
  } else if (comm_ != MPI_COMM_NULL) {
    MPI_Comm_free(&comm_);
  }
}

void FiguresGather::Start(const std::vector<double>& figures) {
  LAUNCHER_REQUIRE(figures.size() == count_, "Give as many figures as was said at the start");
  internal::WaitAll(&request_, 1, kGatherHint);
  buffers_->sent = figures;
  untaken_ = root_;
  if (size_ == 1) {
    buffers_->received = figures;
    return;
  }
  const int count = static_cast<int>(count_);
  LAUNCHER_MPI(MPI_Igather(buffers_->sent.data(), count, MPI_DOUBLE, buffers_->received.data(), count,
                           MPI_DOUBLE, 0, comm_, &request_),
               kGatherHint);
}

std::optional<std::vector<std::vector<double>>> FiguresGather::Take(bool wait) {
  if (request_ != MPI_REQUEST_NULL) {
    int done = 0;
    LAUNCHER_MPI(MPI_Test(&request_, &done, MPI_STATUS_IGNORE), kGatherHint);
    if (!done && wait) internal::WaitAll(&request_, 1, kGatherHint);
  }
  if (!untaken_ || request_ != MPI_REQUEST_NULL) return std::nullopt;
  untaken_ = false;
  std::vector<std::vector<double>> ranks;
  for (int rank = 0; rank < size_; ++rank) {
    const auto begin = buffers_->received.begin() + rank * static_cast<std::ptrdiff_t>(count_);
    ranks.emplace_back(begin, begin + static_cast<std::ptrdiff_t>(count_));
  }
  return ranks;
}

}  // namespace launcher
