#include "trainer/scoring/svg.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace trainer::scoring {

std::string EscapeXml(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      default:
        escaped += static_cast<unsigned char>(c) < 0x20 ? '?' : c;
    }
  }
  return escaped;
}

Svg::Svg(int width, int height)
    : body_(absl::StrFormat(
          "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" "
          "font-family=\"sans-serif\">\n<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n",
          width, height, width, height)) {}

void Svg::Line(double x1, double y1, double x2, double y2, const std::string& colour) {
  absl::StrAppendFormat(&body_, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\"/>\n", x1,
                        y1, x2, y2, colour);
}

void Svg::Box(double x, double y, double width, double height, const std::string& fill,
              const std::string& tooltip) {
  absl::StrAppendFormat(
      &body_,
      "<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" fill=\"%s\"><title>%s</title></rect>\n", x,
      y, width, height, fill, EscapeXml(tooltip));
}

void Svg::Path(const std::vector<std::pair<double, double>>& points, const std::string& colour) {
  absl::StrAppend(&body_, "<polyline fill=\"none\" stroke-width=\"1.5\" stroke=\"", colour, "\" points=\"");
  for (const auto& [x, y] : points) absl::StrAppendFormat(&body_, "%.1f,%.1f ", x, y);
  absl::StrAppend(&body_, "\"/>\n");
}

void Svg::Dot(double x, double y, const std::string& colour, const std::string& tooltip) {
  absl::StrAppendFormat(&body_,
                        "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" fill=\"%s\"><title>%s</title></circle>\n", x,
                        y, colour, EscapeXml(tooltip));
}

void Svg::Text(double x, double y, const std::string& text, Anchor anchor, int size, int degrees) {
  const char* where = anchor == Anchor::kStart ? "start" : anchor == Anchor::kMiddle ? "middle" : "end";
  const std::string turn =
      degrees == 0 ? "" : absl::StrFormat(" transform=\"rotate(%d %.1f %.1f)\"", degrees, x, y);
  absl::StrAppendFormat(&body_,
                        "<text x=\"%.1f\" y=\"%.1f\" font-size=\"%d\" text-anchor=\"%s\"%s>%s</text>\n", x, y,
                        size, where, turn, EscapeXml(text));
}

}  // namespace trainer::scoring
