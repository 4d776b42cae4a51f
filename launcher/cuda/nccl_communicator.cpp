#include "launcher/cuda/nccl_communicator.h"

#include <c10/cuda/CUDAGuard.h>
#include <mpi.h>

#include <chrono>
#include <cstdio>
#include <exception>
#include <mutex>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "launcher/control.h"
#include "launcher/cuda/cuda_check.h"

namespace launcher::internal {
namespace {

constexpr char kCudaHint[] = "See nvidia-smi and the kernel's log for the state of the GPU";
constexpr char kNcclHint[] = "Set NCCL_DEBUG=INFO to see what NCCL was doing";

// Sums whose time nobody asks for are not stored beyond this many.
constexpr size_t kMaxUncountedSums = 4096;

bool Capturing(cudaStream_t stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  LAUNCHER_CUDA(cudaStreamIsCapturing(stream, &status), kCudaHint);
  return status != cudaStreamCaptureStatusNone;
}

// In destructors, where throwing would end the program: say it and go on.
void Complain(const char* what, const char* why) {
  std::fprintf(stderr, "%s: %s failed: %s\n", ProcessLabel().c_str(), what, why);
}

}  // namespace

NcclCommunicator::Event::Event(unsigned flags) {
  LAUNCHER_CUDA(cudaEventCreateWithFlags(&event_, flags), kCudaHint);
}

NcclCommunicator::Event::~Event() {
  if (const cudaError_t code = cudaEventDestroy(event_); code != cudaSuccess) {
    Complain("cudaEventDestroy", cudaGetErrorString(code));
  }
}

NcclCommunicator::Stream::Stream() {
  int lowest = 0;
  int highest = 0;
  LAUNCHER_CUDA(cudaDeviceGetStreamPriorityRange(&lowest, &highest), kCudaHint);
  LAUNCHER_CUDA(cudaStreamCreateWithPriority(&stream_, cudaStreamNonBlocking, highest), kCudaHint);
}

NcclCommunicator::Stream::~Stream() {
  if (const cudaError_t code = cudaStreamDestroy(stream_); code != cudaSuccess) {
    Complain("cudaStreamDestroy", cudaGetErrorString(code));
  }
}

NcclCommunicator::NcclCommunicator(const World& world, torch::Device device)
    : device_(device), size_(world.size), exceptions_at_start_(std::uncaught_exceptions()) {
  const c10::cuda::CUDAGuard guard(device_);
  ncclUniqueId id;
  if (world.rank == 0)
    LAUNCHER_NCCL(ncclGetUniqueId(&id), "Has this host a network interface? See NCCL_SOCKET_IFNAME");
  const std::string bytes = BroadcastString(std::string(id.internal, sizeof(id.internal)), 0);
  bytes.copy(id.internal, sizeof(id.internal));
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  LAUNCHER_NCCL(
      ncclCommInitRankConfig(&comm_, world.size, id, world.rank, &config),
      "Each rank needs a GPU of its own and a network that all hosts reach; NCCL_DEBUG=INFO says more");
}

NcclCommunicator::~NcclCommunicator() {
  const bool broken = std::uncaught_exceptions() > exceptions_at_start_ || !Health().ok();
  const std::lock_guard lock(using_);
  if (broken) {
    if (const ncclResult_t code = ncclCommAbort(comm_); code != ncclSuccess) {
      Complain("ncclCommAbort", ncclGetErrorString(code));
    }
    return;
  }
  if (const cudaError_t code = cudaStreamSynchronize(stream_.get()); code != cudaSuccess) {
    Complain("cudaStreamSynchronize", cudaGetErrorString(code));
  }
  if (const ncclResult_t code = ncclCommDestroy(comm_); code != ncclSuccess) {
    Complain("ncclCommDestroy", ncclGetErrorString(code));
  }
}

void NcclCommunicator::Fork(cudaStream_t current) {
  LAUNCHER_CUDA(cudaEventRecord(handover_.get(), current), kCudaHint);
  LAUNCHER_CUDA(cudaStreamWaitEvent(stream_.get(), handover_.get()), kCudaHint);
}

void NcclCommunicator::Join(cudaStream_t current) {
  LAUNCHER_CUDA(cudaEventRecord(handover_.get(), stream_.get()), kCudaHint);
  LAUNCHER_CUDA(cudaStreamWaitEvent(current, handover_.get()), kCudaHint);
}

void NcclCommunicator::StartAllReduce(torch::Tensor slice) {
  RequireSummable(slice, device_);
  reduced_bytes_ += static_cast<int64_t>(slice.nbytes());
  if (slice.numel() == 0) return;
  const auto start = std::chrono::steady_clock::now();
  const c10::cuda::CUDAGuard guard(device_);
  const cudaStream_t current = c10::cuda::getCurrentCUDAStream(device_.index()).stream();
  Fork(current);
  // What is captured is run later and often: its events would not hold the times of one sum.
  std::unique_ptr<Span> span;
  if (!Capturing(current) && sums_.size() < kMaxUncountedSums) {
    if (spare_.empty()) {
      span = std::make_unique<Span>();
    } else {
      span = std::move(spare_.back());
      spare_.pop_back();
    }
    LAUNCHER_CUDA(cudaEventRecord(span->begin.get(), stream_.get()), kCudaHint);
  }
  float* data = slice.data_ptr<float>();
  {
    const std::lock_guard lock(using_);
    LAUNCHER_NCCL(ncclAllReduce(data, data, slice.numel(), ncclFloat32, ncclSum, comm_, stream_.get()),
                  kNcclHint);
  }
  if (watcher_) watcher_(sum_, /*done=*/false);
  ++sum_;
  if (span != nullptr) {
    LAUNCHER_CUDA(cudaEventRecord(span->end.get(), stream_.get()), kCudaHint);
    sums_.push_back(std::move(span));
  }
  if (observer_) observer_(static_cast<int64_t>(slice.nbytes()), start, std::chrono::steady_clock::now());
  held_.push_back(std::move(slice));
}

void NcclCommunicator::WaitAll() {
  sum_ = 0;
  // Joining a stream that was not forked would be an error inside a capture.
  if (held_.empty()) return;
  const c10::cuda::CUDAGuard guard(device_);
  Join(c10::cuda::getCurrentCUDAStream(device_.index()).stream());
  held_.clear();
}

void NcclCommunicator::Broadcast(torch::Tensor tensor, int root) {
  LAUNCHER_REQUIRE(tensor.device() == device_ && tensor.is_contiguous(),
                   "Broadcast takes contiguous tensors on this communicator's device");
  LAUNCHER_REQUIRE(root >= 0 && root < size_, "Root must be a rank");
  LAUNCHER_REQUIRE(held_.empty(), "Call WaitAll() before Broadcast()");
  if (tensor.numel() == 0) return;
  const c10::cuda::CUDAGuard guard(device_);
  const cudaStream_t current = c10::cuda::getCurrentCUDAStream(device_.index()).stream();
  Fork(current);
  {
    const std::lock_guard lock(using_);
    LAUNCHER_NCCL(ncclBroadcast(tensor.data_ptr(), tensor.data_ptr(), tensor.nbytes(), ncclUint8, root, comm_,
                                stream_.get()),
                  kNcclHint);
  }
  Join(current);
}

absl::Status NcclCommunicator::Health() {
  const std::unique_lock lock(using_, std::try_to_lock);
  if (!lock.owns_lock()) return absl::OkStatus();
  ncclResult_t state = ncclSuccess;
  const ncclResult_t code = ncclCommGetAsyncError(comm_, &state);
  if (code != ncclSuccess) state = code;
  if (state == ncclSuccess || state == ncclInProgress) return absl::OkStatus();
  return absl::UnavailableError(
      absl::StrCat("NCCL: ", ncclGetErrorString(state), " (", ncclGetLastError(comm_), "). ", kNcclHint));
}

void NcclCommunicator::Abort() {
  if (!using_.try_lock_for(std::chrono::seconds(1))) return;
  // Its outcome matters to nobody any more.
  static_cast<void>(ncclCommAbort(comm_));
}

double NcclCommunicator::TakeReduceSeconds() {
  double seconds = 0;
  while (!sums_.empty()) {
    Span& sum = *sums_.front();
    const cudaError_t code = cudaEventQuery(sum.end.get());
    if (code == cudaErrorNotReady) break;  // not yet over: the next call counts it
    LAUNCHER_CUDA(code, kCudaHint);
    float milliseconds = 0;
    LAUNCHER_CUDA(cudaEventElapsedTime(&milliseconds, sum.begin.get(), sum.end.get()), kCudaHint);
    seconds += milliseconds * 1e-3;
    spare_.push_back(std::move(sums_.front()));
    sums_.pop_front();
  }
  return seconds;
}

int64_t NcclCommunicator::TakeReducedBytes() { return std::exchange(reduced_bytes_, 0); }

}  // namespace launcher::internal
