// What TensorBoard is to show of one step.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "trainer/telemetry/event_encoding.h"
#include "trainer/telemetry/histogram.h"

namespace trainer::telemetry {

// A PNG file in memory, and what it says of its size, in pixels.
struct Png {
  int64_t width = 0, height = 0;
  std::string bytes;
};

// Values under tags, at most one a tag. TensorBoard groups tags by what stands before their first '/'. Tags
// and texts are UTF-8. A plain value: put it together, then give it to TensorBoardWriter::Write.
class Summary {
 public:
  void AddScalar(std::string_view tag, double value);  // kept as a float
  void AddHistogram(std::string_view tag, const Histogram& histogram);
  void AddImage(std::string_view tag, const Png& png);
  void AddText(std::string_view tag, std::string_view markdown);
  // For the plugin of that name alone, which knows what the bytes mean.
  void AddPluginData(std::string_view tag, std::string_view plugin, std::string_view content);

  bool empty() const { return message_.bytes().empty(); }
  const Message& message() const { return message_; }  // tensorboard.Summary

 private:
  Message message_;
};

}  // namespace trainer::telemetry
