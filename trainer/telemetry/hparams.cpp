// Field numbers are those of the hparams plugin's plugin_data.proto and api.proto, and of struct.proto.
#include "trainer/telemetry/hparams.h"

#include "absl/strings/str_cat.h"
#include "trainer/telemetry/valid_utf8.h"

namespace trainer::telemetry {
namespace {

constexpr char kPlugin[] = "hparams";
constexpr uint64_t kString = 1, kBool = 2, kFloat64 = 3;  // DataType
constexpr uint64_t kStatusSuccess = 1;                    // Status

uint64_t DataTypeOf(const nlohmann::json& value) {
  if (value.is_boolean()) return kBool;
  return value.is_number() ? kFloat64 : kString;
}

Message ValueOf(const nlohmann::json& value) {
  Message message;
  if (value.is_boolean()) return message.Integer(4, value.get<bool>() ? 1 : 0);
  if (value.is_number()) return message.Double(2, value.get<double>());
  return message.Bytes(3, value.is_string() ? ValidUtf8(value.get<std::string>()) : value.dump());
}

// HParamsPluginData with one of its three kinds of content.
std::string PluginData(int field, const Message& content) {
  Message data;
  data.Integer(1, 0).Submessage(field, content);
  return data.bytes();
}

void AddKeys(const nlohmann::json& section, const std::string& prefix, Message* experiment,
             Message* session) {
  for (const auto& [key, value] : section.items()) {
    const std::string name = absl::StrCat(prefix, key);
    if (value.is_object()) {
      AddKeys(value, name + ".", experiment, session);
      continue;
    }
    Message info, entry;
    info.Bytes(1, name).Integer(4, DataTypeOf(value));
    experiment->Submessage(4, info);
    entry.Bytes(1, name).Submessage(2, ValueOf(value));
    session->Submessage(1, entry);
  }
}

}  // namespace

Summary HparamsOfRun(const nlohmann::json& config, const std::vector<std::string>& metrics,
                     double unix_seconds) {
  Message experiment, session;
  AddKeys(config, "", &experiment, &session);
  for (const auto& tag : metrics) {
    Message name, info;
    name.Bytes(2, tag);
    experiment.Submessage(5, info.Submessage(1, name));
  }
  experiment.Double(3, unix_seconds);
  session.Double(5, unix_seconds);
  Summary summary;
  summary.AddPluginData("_hparams_/experiment", kPlugin, PluginData(2, experiment));
  summary.AddPluginData("_hparams_/session_start_info", kPlugin, PluginData(3, session));
  return summary;
}

Summary EndOfRun(const std::vector<std::pair<std::string, double>>& metrics, double unix_seconds) {
  Message end;
  end.Integer(1, kStatusSuccess).Double(2, unix_seconds);
  Summary summary;
  for (const auto& [tag, value] : metrics) summary.AddScalar(tag, value);
  summary.AddPluginData("_hparams_/session_end_info", kPlugin, PluginData(4, end));
  return summary;
}

}  // namespace trainer::telemetry
