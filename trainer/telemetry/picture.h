// A picture of RGB pixels in memory, and how it becomes a PNG.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "trainer/telemetry/summary.h"

namespace trainer::telemetry {

using Rgb = std::array<uint8_t, 3>;

class Picture {
 public:
  // All of it in one colour; both sides at least 1.
  Picture(int64_t width, int64_t height, Rgb background);

  int64_t width() const { return width_; }
  int64_t height() const { return height_; }

  // (0, 0) is the upper left pixel. What lies outside is left out.
  void Set(int64_t x, int64_t y, Rgb colour);

  // One line of text whose upper left corner is (x, y), in cells of pixel_font.h; as far as it fits.
  void DrawText(int64_t x, int64_t y, std::string_view text, Rgb colour);

  Png ToPng() const;

 private:
  int64_t width_, height_;
  std::string pixels_;  // (height, 1 + 3 * width): PNG's rows, each with its filter's number (0) before it
};

}  // namespace trainer::telemetry
