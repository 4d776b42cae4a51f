#include "trainer/telemetry/event_encoding.h"

#include <array>
#include <bit>
#include <cstring>

namespace trainer::telemetry {
namespace {

static_assert(std::endian::native == std::endian::little, "files are little-endian, numbers are copied");

// Kinds of fields on the wire.
constexpr int kVarint = 0, kFixed64 = 1, kLengthDelimited = 2, kFixed32 = 5;

template <typename T>
void AppendRaw(std::string* bytes, T value) {
  char raw[sizeof value];
  std::memcpy(raw, &value, sizeof value);
  bytes->append(raw, sizeof value);
}

constexpr std::array<uint32_t, 256> CrcTable() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82F63B78U : 0U);
    table[i] = crc;
  }
  return table;
}

// TFRecords store checksums of data that may itself hold checksums; the mask keeps the two apart.
uint32_t MaskedCrc(std::string_view bytes) { return std::rotr(Crc32c(bytes), 15) + 0xA282EAD8U; }

}  // namespace

void Message::Varint(uint64_t value) {
  for (; value >= 0x80; value >>= 7) bytes_.push_back(static_cast<char>(value | 0x80));
  bytes_.push_back(static_cast<char>(value));
}

void Message::Key(int field, int kind) {
  Varint(static_cast<uint64_t>(field) << 3 | static_cast<uint64_t>(kind));
}

Message& Message::Integer(int field, uint64_t value) {
  Key(field, kVarint);
  Varint(value);
  return *this;
}

Message& Message::Double(int field, double value) {
  Key(field, kFixed64);
  AppendRaw(&bytes_, value);
  return *this;
}

Message& Message::Float(int field, float value) {
  Key(field, kFixed32);
  AppendRaw(&bytes_, value);
  return *this;
}

Message& Message::Bytes(int field, std::string_view value) {
  Key(field, kLengthDelimited);
  Varint(value.size());
  bytes_.append(value);
  return *this;
}

Message& Message::Submessage(int field, const Message& value) { return Bytes(field, value.bytes_); }

Message& Message::Doubles(int field, std::span<const double> values) {
  Key(field, kLengthDelimited);
  Varint(values.size_bytes());
  for (const double value : values) AppendRaw(&bytes_, value);
  return *this;
}

uint32_t Crc32c(std::string_view bytes) {
  static constexpr auto kTable = CrcTable();
  uint32_t crc = ~0U;
  for (const char byte : bytes) crc = (crc >> 8) ^ kTable[(crc ^ static_cast<uint8_t>(byte)) & 0xFF];
  return ~crc;
}

std::string TfRecord(std::string_view data) {
  std::string record;
  record.reserve(data.size() + 16);
  AppendRaw(&record, static_cast<uint64_t>(data.size()));
  AppendRaw(&record, MaskedCrc(record));
  record.append(data);
  AppendRaw(&record, MaskedCrc(data));
  return record;
}

}  // namespace trainer::telemetry
