// A small bitmap font for captions in pictures.
#pragma once

namespace trainer::telemetry {

inline constexpr int kGlyphWidth = 6;    // pixels, the gap to the next included
inline constexpr int kGlyphHeight = 10;  // pixels

// Whether the pixel (x, y) of a character's cell is part of it; (0, 0) is the upper left one. Characters
// other than printable ASCII look like '?'.
bool GlyphPixel(char character, int x, int y);

}  // namespace trainer::telemetry
