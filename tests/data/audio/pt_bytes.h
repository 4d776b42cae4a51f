// Writes what torch.save writes, byte for byte as far as readers look, so that tests can write it wrongly
// too.
#pragma once

#include <zlib.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace data::testing {

inline void Append(std::string& bytes, uint64_t value, int size) {
  for (int i = 0; i < size; ++i) bytes += static_cast<char>(i < 8 ? value >> (8 * i) & 0xff : 0);
}

using ZipEntries = std::vector<std::pair<std::string, std::string>>;  // name, content

// A zip archive of stored entries.
inline std::string ZipBytes(const ZipEntries& entries) {
  std::string bytes;
  std::string central;
  for (const auto& [name, content] : entries) {
    const auto crc = crc32_z(0, reinterpret_cast<const Bytef*>(content.data()), content.size());
    const uint64_t offset = bytes.size();
    Append(bytes, 0x04034b50, 4);
    Append(bytes, 0, 10);  // version, flags, method, time, date
    Append(bytes, crc, 4);
    Append(bytes, content.size(), 4);
    Append(bytes, content.size(), 4);
    Append(bytes, name.size(), 2);
    Append(bytes, 0, 2);
    bytes += name + content;
    Append(central, 0x02014b50, 4);
    Append(central, 0, 8);  // versions, flags, method
    Append(central, 0, 4);  // time, date
    Append(central, crc, 4);
    Append(central, content.size(), 4);
    Append(central, content.size(), 4);
    Append(central, name.size(), 2);
    Append(central, 0, 12);  // extra, comment, disk, attributes
    Append(central, offset, 4);
    central += name;
  }
  const uint64_t central_offset = bytes.size();
  bytes += central;
  Append(bytes, 0x06054b50, 4);
  Append(bytes, 0, 4);
  Append(bytes, entries.size(), 2);
  Append(bytes, entries.size(), 2);
  Append(bytes, central.size(), 4);
  Append(bytes, central_offset, 4);
  Append(bytes, 0, 2);
  return bytes;
}

inline std::string PickleInt(int64_t value) {
  std::string bytes = "J";
  Append(bytes, static_cast<uint64_t>(value), 4);
  return bytes;
}

inline std::string PickleString(const std::string& text) {
  std::string bytes = "X";
  Append(bytes, text.size(), 4);
  return bytes + text;
}

inline std::string PickleInts(const std::vector<int64_t>& values) {
  std::string bytes = "(";
  for (const int64_t value : values) bytes += PickleInt(value);
  return bytes + "t";
}

struct PickleParts {
  std::string storage = "FloatStorage";
  std::string key = "0";
  int64_t offset = 0;
  std::vector<int64_t> sizes;
  std::vector<int64_t> strides;
};

inline std::string TensorPickle(const PickleParts& parts) {
  return std::string("\x80\x02") + "ctorch._utils\n_rebuild_tensor_v2\nq\x01((" + PickleString("storage") +
         "ctorch\n" + parts.storage + "\n" + PickleString(parts.key) + PickleString("cpu") + PickleInt(1) +
         "tQ" + PickleInt(parts.offset) + PickleInts(parts.sizes) + PickleInts(parts.strides) +
         "\x89"
         "ccollections\nOrderedDict\n)RtR.";
}

inline std::string FloatBytes(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

// A file with one tensor of these parts over these stored values.
inline std::string PtBytes(const PickleParts& parts, const std::vector<float>& storage) {
  return ZipBytes({{"archive/data.pkl", TensorPickle(parts)},
                   {"archive/byteorder", "little"},
                   {"archive/data/0", FloatBytes(storage)},
                   {"archive/version", "3\n"}});
}

inline std::string PtBytes(int64_t rows, int64_t columns, const std::vector<float>& values) {
  return PtBytes({.sizes = {rows, columns}, .strides = {columns, 1}}, values);
}

}  // namespace data::testing
