// A drawing made of lines, boxes and words, as SVG.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace trainer::scoring {

enum class Anchor { kStart, kMiddle, kEnd };

// Lengths and places in pixels, from the upper left corner. Colours as in CSS.
class Svg {
 public:
  Svg(int width, int height);

  void Line(double x1, double y1, double x2, double y2, const std::string& colour);
  void Box(double x, double y, double width, double height, const std::string& fill,
           const std::string& tooltip);
  void Path(const std::vector<std::pair<double, double>>& points, const std::string& colour);
  void Dot(double x, double y, const std::string& colour, const std::string& tooltip);
  // `y` is the base line. Any text: it is escaped. Turned by `degrees` around (x, y).
  void Text(double x, double y, const std::string& text, Anchor anchor, int size = 12, int degrees = 0);

  // The whole file.
  std::string Finish() const { return body_ + "</svg>\n"; }

 private:
  std::string body_;
};

// Text as it may stand in XML; control characters, which may not, become question marks.
std::string EscapeXml(const std::string& text);

}  // namespace trainer::scoring
