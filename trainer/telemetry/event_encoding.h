// The bytes of a TensorBoard event file: protocol buffer messages in TFRecord frames.
//
// Note [Protocol buffers by hand]
// An event file needs a dozen messages of a handful of fields, and only to be written. Their wire format is
// numbered fields of three kinds, 60 lines. The generated code would bring protoc to the build, libprotobuf
// to the installed tree, and a symbol clash to be ruled out: LibTorch carries a protobuf of its own.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace trainer::telemetry {

// A message being put together: fields in any order, repeated fields by repeated calls. Field numbers are
// those of the message's .proto file.
class Message {
 public:
  Message& Integer(int field, uint64_t value);  // int32, int64, bool, enum; none of ours is negative
  Message& Double(int field, double value);
  Message& Float(int field, float value);
  Message& Bytes(int field, std::string_view value);            // string, bytes
  Message& Submessage(int field, const Message& value);         // also one entry of a map: key is 1, value 2
  Message& Doubles(int field, std::span<const double> values);  // packed

  const std::string& bytes() const { return bytes_; }

 private:
  void Key(int field, int kind);
  void Varint(uint64_t value);

  std::string bytes_;
};

// CRC-32C (Castagnoli) of `bytes`. Debian 12's abseil has none yet.
uint32_t Crc32c(std::string_view bytes);

// `data` as one TFRecord: length, checksum, data, checksum.
std::string TfRecord(std::string_view data);

}  // namespace trainer::telemetry
