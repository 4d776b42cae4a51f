#pragma once

#include <cstddef>
#include <cstdint>

struct XXH3_state_s;

namespace data {

// XXH3-64 with seed 0. Finds damage, not malice.
uint64_t Checksum(const void* bytes, size_t size);

// The same over bytes that come piece by piece.
class ChecksumStream {
 public:
  ChecksumStream();
  ~ChecksumStream();
  ChecksumStream(const ChecksumStream&) = delete;
  ChecksumStream& operator=(const ChecksumStream&) = delete;

  void Update(const void* bytes, size_t size);
  uint64_t Digest() const;

 private:
  XXH3_state_s* state_;
};

}  // namespace data
