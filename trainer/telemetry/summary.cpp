// Field numbers are those of TensorBoard's summary.proto, tensor.proto and tensor_shape.proto.
#include "trainer/telemetry/summary.h"

namespace trainer::telemetry {
namespace {

constexpr int kDataTypeFloat = 1, kDataTypeString = 7;

Message Tagged(std::string_view tag) {
  Message value;
  value.Bytes(1, tag);
  return value;
}

// SummaryMetadata that hands a value to a plugin.
Message PluginMetadata(std::string_view plugin, std::string_view content) {
  Message plugin_data;
  plugin_data.Bytes(1, plugin).Bytes(2, content);
  Message metadata;
  metadata.Submessage(1, plugin_data);
  return metadata;
}

}  // namespace

void Summary::AddScalar(std::string_view tag, double value) {
  message_.Submessage(1, Tagged(tag).Float(2, static_cast<float>(value)));
}

void Summary::AddHistogram(std::string_view tag, const Histogram& histogram) {
  Message histo;
  histo.Double(1, histogram.min)
      .Double(2, histogram.max)
      .Double(3, histogram.count)
      .Double(4, histogram.sum)
      .Double(5, histogram.sum_of_squares)
      .Doubles(6, histogram.limits)
      .Doubles(7, histogram.counts);
  message_.Submessage(1, Tagged(tag).Submessage(5, histo));
}

void Summary::AddImage(std::string_view tag, const Png& png) {
  constexpr uint64_t kRgb = 3;
  Message image;
  image.Integer(1, static_cast<uint64_t>(png.height))
      .Integer(2, static_cast<uint64_t>(png.width))
      .Integer(3, kRgb)
      .Bytes(4, png.bytes);
  message_.Submessage(1, Tagged(tag).Submessage(4, image));
}

void Summary::AddText(std::string_view tag, std::string_view markdown) {
  Message one, shape, tensor;
  one.Integer(1, 1);
  shape.Submessage(2, one);
  tensor.Integer(1, kDataTypeString).Submessage(2, shape).Bytes(8, markdown);
  message_.Submessage(1, Tagged(tag).Submessage(9, PluginMetadata("text", "")).Submessage(8, tensor));
}

void Summary::AddPluginData(std::string_view tag, std::string_view plugin, std::string_view content) {
  // TensorBoard keeps metadata only of values that have a value: this one, which nobody reads.
  Message tensor;
  tensor.Integer(1, kDataTypeFloat).Submessage(2, Message()).Float(5, 0);
  message_.Submessage(1, Tagged(tag).Submessage(9, PluginMetadata(plugin, content)).Submessage(8, tensor));
}

}  // namespace trainer::telemetry
