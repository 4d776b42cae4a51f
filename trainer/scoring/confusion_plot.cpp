#include "trainer/scoring/confusion_plot.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "trainer/scoring/svg.h"

namespace trainer::scoring {
namespace {

constexpr int kMargin = 120, kTop = 150;
constexpr double kPlot = 640;         // pixels of the longer side
constexpr double kRoomForNames = 11;  // pixels from one name to the next, from which on they are legible
constexpr size_t kLongestName = 16;

std::string Shortened(const std::string& name) {
  if (name.size() <= kLongestName) return name;
  size_t end = kLongestName - 1;
  while (end > 0 && (static_cast<unsigned char>(name[end]) & 0xC0) == 0x80) --end;  // not within a character
  return name.substr(0, end) + "…";
}

// White to the full colour; a share however small is visible.
std::string Shade(double share, bool right) {
  const int rest = static_cast<int>(std::lround(225 * (1 - share)));
  return right ? absl::StrFormat("rgb(%d,%d,255)", rest, rest)
               : absl::StrFormat("rgb(255,%d,%d)", rest, rest);
}

}  // namespace

std::string ConfusionSvg(const ConfusionMatrix& matrix, const std::string& title) {
  const auto rows = matrix.Present();
  const auto& names = matrix.speakers();
  const double cell = std::min(40.0, kPlot / static_cast<double>(std::max<size_t>(names.size(), 1)));
  const double width = cell * static_cast<double>(names.size()),
               height = cell * static_cast<double>(rows.size());
  // Where cells are smaller than names, only some have theirs; all have it in their tooltip.
  const auto every = static_cast<size_t>(std::ceil(kRoomForNames / cell));
  Svg svg(kMargin + std::max(480, static_cast<int>(width)) + 20, kTop + static_cast<int>(height) + 50);
  svg.Text(16, 24, title, Anchor::kStart, 14);
  svg.Text(16, 44, "rows: the speaker; columns: the answer; share of the row", Anchor::kStart);
  for (size_t r = 0; r < rows.size(); ++r) {
    const double y = kTop + cell * static_cast<double>(r);
    const auto total = static_cast<double>(matrix.utterances(rows[r]));
    for (size_t c = 0; c < names.size(); ++c) {
      const int64_t count = matrix.count(rows[r], static_cast<int64_t>(c));
      if (count == 0) continue;
      svg.Box(kMargin + cell * static_cast<double>(c), y, cell, cell,
              Shade(static_cast<double>(count) / total, rows[r] == static_cast<int64_t>(c)),
              absl::StrFormat("%s taken for %s: %d of %.0f", names[static_cast<size_t>(rows[r])], names[c],
                              count, total));
    }
    if (r % every == 0) {
      svg.Text(kMargin - 6, y + cell / 2 + 4, Shortened(names[static_cast<size_t>(rows[r])]), Anchor::kEnd,
               10);
    }
  }
  for (size_t c = 0; c < names.size(); c += every) {
    svg.Text(kMargin + cell * (static_cast<double>(c) + 0.5) + 4, kTop - 6, Shortened(names[c]),
             Anchor::kStart, 10, -90);
  }
  svg.Line(kMargin, kTop, kMargin + width, kTop, "gray");
  svg.Line(kMargin, kTop + height, kMargin + width, kTop + height, "gray");
  svg.Line(kMargin, kTop, kMargin, kTop + height, "gray");
  svg.Line(kMargin + width, kTop, kMargin + width, kTop + height, "gray");
  return svg.Finish();
}

}  // namespace trainer::scoring
