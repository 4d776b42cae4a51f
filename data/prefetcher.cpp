#include "data/prefetcher.h"

#include <pthread.h>

#include <algorithm>
#include <exception>

#include "absl/strings/str_cat.h"

namespace data {

void BatchBuffer::Reserve(int64_t count, int64_t frames, int64_t n_mels, bool pinned) {
  const auto grow = [pinned](torch::Tensor* tensor, int64_t size, torch::ScalarType type) {
    if (tensor->defined() && tensor->numel() >= size) return;
    *tensor = torch::empty({size}, torch::TensorOptions().dtype(type).pinned_memory(pinned));
  };
  grow(&mels_, count * frames * n_mels, torch::kFloat32);
  grow(&lengths_, count, torch::kInt64);
  grow(&speakers_, count, torch::kInt64);
}

void BatchBuffer::Resize(int64_t count, int64_t frames, int64_t n_mels, bool pinned) {
  Reserve(count, frames, n_mels, pinned);
  batch_.mels = mels_.narrow(0, 0, count * frames * n_mels).view({count, frames, n_mels});
  batch_.lengths = lengths_.narrow(0, 0, count);
  batch_.speakers = speakers_.narrow(0, 0, count);
}

Prefetcher::Prefetcher(int64_t depth, Fill fill)
    : fill_(std::move(fill)), buffers_(static_cast<size_t>(std::max<int64_t>(depth, 1) + 1)) {
  thread_ = std::thread([this] { Run(); });
}

Prefetcher::~Prefetcher() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Prefetcher::Run() {
  pthread_setname_np(pthread_self(), "loader");
  const int64_t count = static_cast<int64_t>(buffers_.size());
  std::unique_lock lock(mutex_);
  while (true) {
    // The batch handed out last is still in use, hence one buffer less than there are.
    changed_.wait(lock, [&] { return stop_ || filled_ - std::max<int64_t>(taken_ - 1, 0) < count; });
    if (stop_) return;
    BatchBuffer* buffer = &buffers_[static_cast<size_t>(filled_ % count)];
    lock.unlock();
    absl::StatusOr<bool> more = false;
    try {
      more = fill_(buffer);
    } catch (const std::exception& error) {
      more = absl::InternalError(absl::StrCat("the loader's thread failed: ", error.what()));
    }
    lock.lock();
    if (more.ok() && *more) {
      ++filled_;
    } else {
      ended_ = true;
      status_ = more.status();
    }
    changed_.notify_all();
    if (ended_) return;
  }
}

absl::StatusOr<const Batch*> Prefetcher::Next() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return filled_ > taken_ || ended_; });
  if (filled_ == taken_) {
    if (!status_.ok()) return status_;
    return nullptr;
  }
  BatchBuffer& buffer = buffers_[static_cast<size_t>(taken_ % static_cast<int64_t>(buffers_.size()))];
  ++taken_;
  changed_.notify_all();
  return &buffer.batch();
}

}  // namespace data
