#include "trainer/telemetry/mel_picture.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "trainer/telemetry/pixel_font.h"

namespace trainer::telemetry {
namespace {

constexpr int64_t kMelPixels = 2;
constexpr int64_t kCaptionPixels = kGlyphHeight + 6;
constexpr Rgb kBackground = {24, 24, 28}, kGreen = {120, 220, 140}, kRed = {255, 120, 110};

// The lowest value is often one silent frame's alone: the first percentile tells better where speech begins.
std::pair<float, float> RangeOf(const MelStrip& strip) {
  auto values = strip.mels;
  const auto low = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 100);
  std::nth_element(values.begin(), low, values.end());
  return {*low, *std::max_element(low, values.end())};
}

}  // namespace

Rgb MelColour(double value) {
  // Nine colours of matplotlib's map "magma" (CC0), equally far apart.
  static constexpr std::array<Rgb, 9> kMagma = {{{0x00, 0x00, 0x04},
                                                 {0x1D, 0x11, 0x47},
                                                 {0x51, 0x12, 0x7C},
                                                 {0x82, 0x26, 0x81},
                                                 {0xB6, 0x36, 0x79},
                                                 {0xE6, 0x51, 0x64},
                                                 {0xFB, 0x88, 0x61},
                                                 {0xFE, 0xC2, 0x87},
                                                 {0xFC, 0xFD, 0xBF}}};
  const double place = std::clamp(value, 0.0, 1.0) * (kMagma.size() - 1);
  const auto below = std::min(static_cast<size_t>(place), kMagma.size() - 2);
  const double share = place - static_cast<double>(below);
  Rgb colour;
  for (size_t i = 0; i < colour.size(); ++i) {
    colour[i] =
        static_cast<uint8_t>(std::lround((1 - share) * kMagma[below][i] + share * kMagma[below + 1][i]));
  }
  return colour;
}

Picture DrawMels(const std::vector<MelStrip>& strips, int64_t n_mels, int64_t max_frames) {
  int64_t width = 1;
  for (const auto& strip : strips) {
    width = std::max({width, std::min(strip.frames, max_frames),
                      kGlyphWidth * static_cast<int64_t>(strip.caption.size())});
  }
  const int64_t strip_height = kMelPixels * n_mels + kCaptionPixels;
  Picture picture(std::min(width, max_frames), strip_height * static_cast<int64_t>(strips.size()),
                  kBackground);
  int64_t top = 0;
  for (const auto& strip : strips) {
    const auto [low, high] = RangeOf(strip);
    const double scale = high > low ? 1.0 / (static_cast<double>(high) - low) : 0;
    for (int64_t x = 0; x < std::min(strip.frames, picture.width()); ++x) {
      for (int64_t mel = 0; mel < n_mels; ++mel) {
        const auto colour = MelColour((strip.mels[static_cast<size_t>(x * n_mels + mel)] - low) * scale);
        for (int64_t i = 1; i <= kMelPixels; ++i) {
          picture.Set(x, top + kMelPixels * (n_mels - mel) - i, colour);
        }
      }
    }
    picture.DrawText(0, top + kMelPixels * n_mels + 3, strip.caption, strip.right ? kGreen : kRed);
    top += strip_height;
  }
  return picture;
}

}  // namespace trainer::telemetry
