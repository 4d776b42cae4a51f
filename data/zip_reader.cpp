#include "data/zip_reader.h"

#include <zlib.h>

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace data {
namespace {

// Field offsets and sizes below are those of the ZIP format's records.
constexpr uint32_t kLocalSignature = 0x04034b50;
constexpr uint32_t kCentralSignature = 0x02014b50;
constexpr uint32_t kEndSignature = 0x06054b50;
constexpr size_t kLocalSize = 30;
constexpr size_t kCentralSize = 46;
constexpr size_t kEndSize = 22;
constexpr size_t kMaxComment = 0xffff;

absl::Status Damaged(const std::string& what) {
  return absl::DataLossError(absl::StrCat("is damaged or truncated: ", what));
}

// Little-endian; the caller has checked the bounds.
uint32_t Get16(std::span<const uint8_t> bytes, size_t at) {
  return static_cast<uint32_t>(bytes[at]) | static_cast<uint32_t>(bytes[at + 1]) << 8;
}
uint32_t Get32(std::span<const uint8_t> bytes, size_t at) {
  return Get16(bytes, at) | Get16(bytes, at + 2) << 16;
}

bool Fits(std::span<const uint8_t> bytes, size_t at, size_t size) {
  return at <= bytes.size() && size <= bytes.size() - at;
}

// The end record stands last, but for a comment of unknown length.
absl::StatusOr<size_t> FindEnd(std::span<const uint8_t> archive) {
  if (archive.size() < kEndSize) return Damaged("too small for a zip archive");
  const size_t last = archive.size() - kEndSize;
  const size_t first = last - std::min(last, kMaxComment);
  for (size_t at = last + 1; at-- > first;) {
    if (Get32(archive, at) == kEndSignature && at + kEndSize + Get16(archive, at + 20) == archive.size())
      return at;
  }
  return Damaged("the zip archive's end is missing");
}

// `central`: offset of the entry's central record, which lies within the archive, fixed part and name.
absl::StatusOr<ZipEntry> ReadEntry(std::span<const uint8_t> archive, size_t central) {
  const uint32_t flags = Get16(archive, central + 8);
  const uint32_t method = Get16(archive, central + 10);
  const uint32_t checksum = Get32(archive, central + 16);
  const uint32_t size = Get32(archive, central + 24);
  const size_t name_size = Get16(archive, central + 28);
  const size_t local = Get32(archive, central + 42);
  ZipEntry entry;
  entry.name.assign(reinterpret_cast<const char*>(archive.data()) + central + kCentralSize, name_size);
  if ((flags & 1) != 0 || method != 0) {
    return absl::InvalidArgumentError("is a compressed or encrypted zip archive, not what torch.save writes");
  }
  if (size == 0xffffffff || local == 0xffffffff) {
    return absl::InvalidArgumentError("is a zip archive with entries of 4 GiB or more");
  }
  if (size != Get32(archive, central + 20)) return Damaged("an entry's two sizes differ");
  if (!Fits(archive, local, kLocalSize) || Get32(archive, local) != kLocalSignature) {
    return Damaged("an entry's header is missing");
  }
  const size_t begin = local + kLocalSize + Get16(archive, local + 26) + Get16(archive, local + 28);
  if (!Fits(archive, begin, size)) return Damaged("an entry reaches beyond the end");
  entry.bytes = archive.subspan(begin, size);
  if (crc32_z(0, entry.bytes.data(), entry.bytes.size()) != checksum) return Damaged("a checksum is wrong");
  return entry;
}

}  // namespace

absl::StatusOr<std::vector<ZipEntry>> ReadStoredZip(std::span<const uint8_t> archive) {
  const absl::StatusOr<size_t> end = FindEnd(archive);
  if (!end.ok()) return end.status();
  const size_t count = Get16(archive, *end + 10);
  size_t at = Get32(archive, *end + 16);
  std::vector<ZipEntry> entries;
  size_t total = 0;
  for (size_t i = 0; i < count; ++i) {
    if (!Fits(archive, at, kCentralSize) || Get32(archive, at) != kCentralSignature) {
      return Damaged("the list of entries is broken");
    }
    const size_t size =
        kCentralSize + Get16(archive, at + 28) + Get16(archive, at + 30) + Get16(archive, at + 32);
    if (!Fits(archive, at, size)) return Damaged("the list of entries is broken");
    absl::StatusOr<ZipEntry> entry = ReadEntry(archive, at);
    if (!entry.ok()) return entry.status();
    total += entry->bytes.size();
    // Entries laid over each other would turn a small file into hours of checksums.
    if (total > archive.size()) return Damaged("its entries overlap");
    entries.push_back(*std::move(entry));
    at += size;
  }
  return entries;
}

}  // namespace data
