// A PNG is a signature and a few chunks; all that is difficult about it, zlib does.
#include "trainer/telemetry/picture.h"

#include <zlib.h>

#include <stdexcept>

#include "trainer/telemetry/pixel_font.h"

namespace trainer::telemetry {
namespace {

std::string BigEndian(uint64_t value) {
  std::string bytes;
  for (const int shift : {24, 16, 8, 0}) bytes.push_back(static_cast<char>(value >> shift & 0xFF));
  return bytes;
}

std::string Chunk(const std::string& type, const std::string& data) {
  const std::string body = type + data;
  const auto checksum = crc32_z(0, reinterpret_cast<const Bytef*>(body.data()), body.size());
  return BigEndian(data.size()) + body + BigEndian(checksum);
}

std::string Deflate(const std::string& bytes) {
  uLongf size = compressBound(bytes.size());
  std::string compressed(size, '\0');
  if (compress(reinterpret_cast<Bytef*>(compressed.data()), &size,
               reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()) != Z_OK) {
    throw std::runtime_error("zlib cannot compress a picture: out of memory");
  }
  compressed.resize(size);
  return compressed;
}

}  // namespace

Picture::Picture(int64_t width, int64_t height, Rgb background)
    : width_(width), height_(height), pixels_(static_cast<size_t>(height * (1 + 3 * width)), '\0') {
  for (int64_t y = 0; y < height; ++y) {
    for (int64_t x = 0; x < width; ++x) Set(x, y, background);
  }
}

void Picture::Set(int64_t x, int64_t y, Rgb colour) {
  if (x < 0 || x >= width_ || y < 0 || y >= height_) return;
  auto* pixel = &pixels_[static_cast<size_t>(y * (1 + 3 * width_) + 1 + 3 * x)];
  for (const uint8_t part : colour) *pixel++ = static_cast<char>(part);
}

void Picture::DrawText(int64_t x, int64_t y, std::string_view text, Rgb colour) {
  for (const char character : text) {
    for (int row = 0; row < kGlyphHeight; ++row) {
      for (int column = 0; column < kGlyphWidth; ++column) {
        if (GlyphPixel(character, column, row)) Set(x + column, y + row, colour);
      }
    }
    x += kGlyphWidth;
  }
}

Png Picture::ToPng() const {
  const std::string header = BigEndian(static_cast<uint64_t>(width_)) +
                             BigEndian(static_cast<uint64_t>(height_)) +
                             std::string("\x08\x02\x00\x00\x00", 5);  // 8 bits, RGB, and all defaults
  return {width_, height_,
          "\x89PNG\r\n\x1a\n" + Chunk("IHDR", header) + Chunk("IDAT", Deflate(pixels_)) + Chunk("IEND", "")};
}

}  // namespace trainer::telemetry
