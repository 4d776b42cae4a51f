#include "data/checksum.h"

#include <xxhash.h>

#include <new>

namespace data {

uint64_t Checksum(const void* bytes, size_t size) { return XXH3_64bits(bytes, size); }

ChecksumStream::ChecksumStream() : state_(XXH3_createState()) {
  if (state_ == nullptr) throw std::bad_alloc();
  XXH3_64bits_reset(state_);
}

ChecksumStream::~ChecksumStream() { XXH3_freeState(state_); }

void ChecksumStream::Update(const void* bytes, size_t size) { XXH3_64bits_update(state_, bytes, size); }

uint64_t ChecksumStream::Digest() const { return XXH3_64bits_digest(state_); }

}  // namespace data
