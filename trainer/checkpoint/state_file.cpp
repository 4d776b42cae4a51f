#include "trainer/checkpoint/state_file.h"

#include <charconv>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "trainer/checkpoint/file_io.h"

namespace trainer::checkpoint {
namespace {

using nlohmann::json;

constexpr int kFormatVersion = 1;
constexpr size_t kDigits = 16;
constexpr char kBeforeDigits[] = "    \"state.json\": \"";
constexpr char kAfterDigits[] = "\"\n  }\n}\n";

uint64_t OwnChecksum(const std::string& text) { return ChecksumOf({{text.data(), text.size()}}); }

bool ParseHex(const json& value, uint64_t* checksum) {
  if (!value.is_string()) return false;
  const std::string& text = value.get_ref<const std::string&>();
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, *checksum, 16);
  return text.size() == kDigits && error == std::errc() && stop == end;
}

}  // namespace

absl::StatusOr<std::string> EncodeState(const StateFile& file, int64_t step) {
  if (!file.state.is_object())
    return absl::InvalidArgumentError("a checkpoint's state must be a JSON object");
  nlohmann::ordered_json out;
  out["format_version"] = kFormatVersion;
  out["step"] = step;
  out["is_best"] = file.is_best;
  for (const auto& [key, value] : file.state.items()) {
    if (key == "format_version" || key == "is_best" || key == "checksums") {
      return absl::InvalidArgumentError(absl::StrCat("a checkpoint's state may not have the key ", key));
    }
    if (key != "step") out[key] = value;
  }
  out["checksums"] = {{kModelFile, Hex(file.model_checksum)},
                      {kOptimizerFile, Hex(file.optimizer_checksum)},
                      {kStateFile, std::string(kDigits, '0')}};
  std::string text;
  try {
    text = out.dump(2) + "\n";
  } catch (const json::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat("a checkpoint's state cannot be written: ", error.what()));
  }
  text.replace(text.size() - (sizeof(kAfterDigits) - 1) - kDigits, kDigits, Hex(OwnChecksum(text)));
  return text;
}

absl::StatusOr<StateFile> DecodeState(const std::string& text, const std::string& path) {
  const auto damaged = [&](const std::string& what) {
    return absl::DataLossError(absl::StrCat(path, ": ", what));
  };
  constexpr size_t kAfter = sizeof(kAfterDigits) - 1;
  constexpr size_t kBefore = sizeof(kBeforeDigits) - 1;
  if (text.size() < kBefore + kDigits + kAfter || !absl::EndsWith(text, kAfterDigits) ||
      text.compare(text.size() - kAfter - kDigits - kBefore, kBefore, kBeforeDigits) != 0) {
    return damaged("damaged or cut short: it does not end with its checksum");
  }
  const size_t at = text.size() - kAfter - kDigits;
  std::string zeroed = text;
  zeroed.replace(at, kDigits, kDigits, '0');
  if (Hex(OwnChecksum(zeroed)) != text.substr(at, kDigits)) {
    return damaged("damaged (or edited): its checksum does not match");
  }
  json parsed = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!parsed.is_object()) return damaged("is not a JSON object");
  const json version = parsed.value("format_version", json());
  if (version != kFormatVersion) {
    return absl::FailedPreconditionError(absl::StrCat(path, ": has format version ", version.dump(),
                                                      ", this program reads version ", kFormatVersion,
                                                      "; use the trainer that wrote it"));
  }
  StateFile file;
  const json checksums = parsed.value("checksums", json::object());
  if (!parsed.value("step", json()).is_number_integer() || !parsed.value("is_best", json()).is_boolean() ||
      !checksums.is_object() || !ParseHex(checksums.value(kModelFile, json()), &file.model_checksum) ||
      !ParseHex(checksums.value(kOptimizerFile, json()), &file.optimizer_checksum)) {
    return damaged("lacks the step, is_best or a checksum");
  }
  file.is_best = parsed["is_best"];
  parsed.erase("format_version");
  parsed.erase("is_best");
  parsed.erase("checksums");
  file.state = std::move(parsed);
  return file;
}

}  // namespace trainer::checkpoint
