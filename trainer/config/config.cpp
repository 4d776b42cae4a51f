#include "trainer/config/config.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "trainer/config/fields.h"
#include "trainer/config/yaml.h"

namespace trainer::config {
namespace {

constexpr size_t kMaxFileBytes = 1 << 20;

// Where each key got its value; keys left at their defaults are not in it.
using Origins = std::map<std::string, std::string>;

absl::Status Wrong(const std::string& where, const std::string& key, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat(where, ": ", key, ": ", what));
}

absl::Status Apply(const Entry& entry, Config* config) {
  const Field* field = FindField(entry.key);
  if (field == nullptr) {
    if (IsSection(entry.key)) return Wrong(entry.where, entry.key, "is a section; name one of its keys");
    const std::string near = Nearest(entry.key, AllKeys());
    return Wrong(entry.where, entry.key,
                 near.empty() ? "unknown key; trainer --config FILE --print-config lists all keys"
                              : absl::StrCat("unknown key; did you mean ", near, "?"));
  }
  if (absl::Status status = field->set(entry.value, *config); !status.ok()) {
    return Wrong(entry.where, entry.key, std::string(status.message()));
  }
  return absl::OkStatus();
}

absl::StatusOr<Entry> ParseOverride(const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("command line: '", text, "': write an override as key=value, e.g. optimizer.lr=5e-4"));
  }
  Entry entry{text.substr(0, equals), "command line", {}};
  const std::string value = text.substr(equals + 1);
  const Field* field = FindField(entry.key);
  absl::string_view list = value;
  if (field != nullptr && field->is_list && absl::ConsumePrefix(&list, "[") &&
      absl::ConsumeSuffix(&list, "]")) {
    entry.value.is_list = true;
    for (absl::string_view item : absl::StrSplit(list, ',')) {
      entry.value.items.emplace_back(absl::StripAsciiWhitespace(item));
    }
  } else {
    entry.value.items.push_back(value);
  }
  return entry;
}

// What must hold between keys. An error names the key to change, where it was set.
absl::Status CheckTogether(const Config& config, const Origins& origins, const std::string& name) {
  const auto where = [&](std::initializer_list<const char*> keys) {
    for (const char* key : keys) {
      if (auto origin = origins.find(key); origin != origins.end()) return origin->second;
    }
    return name;
  };
  const Config::Model& model = config.model;
  if (model.type == "transformer" && model.d_model % model.heads != 0) {
    return Wrong(where({"model.heads", "model.d_model"}), "model.heads",
                 absl::StrCat(model.heads, " does not divide model.d_model (", model.d_model,
                              "); change one of the two"));
  }
  if (model.type == "conformer") {
    // Each factor may be large, but not all of them: before a slip becomes an allocation.
    constexpr int64_t kWidest = 65536;
    const auto check = [&](const char* a_key, int64_t a, const char* b_key, int64_t b) {
      return a * b <= kWidest ? absl::OkStatus()
                              : Wrong(where({b_key, a_key}), b_key,
                                      absl::StrCat(b, " times ", a_key, " (", a, ") is above ", kWidest,
                                                   "; lower one of the two"));
    };
    for (const absl::Status& status :
         {check("model.heads", model.heads, "model.dim_head", model.dim_head),
          check("model.dim", model.dim, "model.ff_mult", model.ff_mult),
          check("model.dim", model.dim, "model.conv_expansion_factor", model.conv_expansion_factor),
          check("model.dim", model.dim, "model.depth", model.mfa ? model.depth : 1)}) {
      if (!status.ok()) return status;
    }
  }
  if (config.loss.type != "cross_entropy" && model.head != "cosine") {
    return Wrong(where({"loss.type", "model.head"}), "loss.type",
                 absl::StrCat(config.loss.type, " needs cosines, and model.head is ", model.head,
                              "; set model.head: cosine"));
  }
  if (config.data.min_crop_frames > config.data.crop_frames) {
    return Wrong(where({"data.min_crop_frames", "data.crop_frames"}), "data.min_crop_frames",
                 absl::StrCat(config.data.min_crop_frames, " is above data.crop_frames (",
                              config.data.crop_frames, "); change one of the two"));
  }
  if (config.augment.snr_db[0] > config.augment.snr_db[1]) {
    return Wrong(where({"augment.snr_db"}), "augment.snr_db",
                 "the first number must not be above the second");
  }
  const Config::Train& train = config.train;
  if (train.global_batch % train.accumulate != 0) {
    return Wrong(where({"train.accumulate", "train.global_batch"}), "train.accumulate",
                 absl::StrCat(train.accumulate, " does not divide train.global_batch (", train.global_batch,
                              "); change one of the two"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadText(const std::string& file) {
  if (std::error_code error; std::filesystem::is_directory(file, error)) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": is a folder; name a YAML file"));
  }
  std::ifstream stream(file, std::ios::binary);
  if (!stream)
    return absl::NotFoundError(absl::StrCat(file, ": cannot be opened; check the path and its permissions"));
  std::string text(kMaxFileBytes + 1, '\0');
  stream.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (stream.bad()) return absl::DataLossError(absl::StrCat(file, ": cannot be read to its end"));
  text.resize(static_cast<size_t>(stream.gcount()));
  if (text.size() > kMaxFileBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(file, ": is larger than 1 MiB, so hardly a configuration"));
  }
  return text;
}

absl::StatusOr<Config> Parse(const std::string& text, const std::string& name,
                             const std::vector<std::string>& overrides) {
  Config config;
  Origins origins;
  absl::StatusOr<std::vector<Entry>> entries = ReadEntries(text, name);
  if (!entries.ok()) return entries.status();
  for (const Entry& entry : *entries) {
    if (absl::Status status = Apply(entry, &config); !status.ok()) return status;
    const auto [first, is_new] = origins.emplace(entry.key, entry.where);
    if (!is_new) {
      return Wrong(entry.where, entry.key,
                   absl::StrCat("is set twice, first at ", first->second, "; remove one"));
    }
  }
  for (const std::string& override_text : overrides) {
    absl::StatusOr<Entry> entry = ParseOverride(override_text);
    if (!entry.ok()) return entry.status();
    if (absl::Status status = Apply(*entry, &config); !status.ok()) return status;
    origins[entry->key] = entry->where;
  }
  if (absl::Status status = CheckTogether(config, origins, name); !status.ok()) return status;
  if (config.run.dir.empty()) {
    const Entry entry{
        "run.dir", name, {{absl::StrCat("runs/", std::filesystem::path(name).stem().string())}}};
    if (absl::Status status = Apply(entry, &config); !status.ok()) return status;
  }
  return config;
}

// Errors quote keys, values and paths, in which users can put anything.
std::string OneLine(absl::string_view message) {
  std::string line(message);
  for (char& c : line) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  }
  return line;
}

}  // namespace

absl::StatusOr<Config> ParseConfig(const std::string& text, const std::string& name,
                                   const std::vector<std::string>& overrides) {
  absl::StatusOr<Config> config = Parse(text, name, overrides);
  if (!config.ok()) return absl::Status(config.status().code(), OneLine(config.status().message()));
  return config;
}

absl::StatusOr<Config> LoadConfig(const std::string& file, const std::vector<std::string>& overrides) {
  absl::StatusOr<std::string> text = ReadText(file);
  if (!text.ok()) return text.status();
  return ParseConfig(*text, file, overrides);
}

absl::StatusOr<Config> FromJson(const nlohmann::json& json, const std::string& name) {
  if (!json.is_object()) return absl::InvalidArgumentError(absl::StrCat(name, ": holds no configuration"));
  // JSON is YAML.
  return ParseConfig(json.dump(), name);
}

absl::Status CheckDataPath(const Config& config, const std::string& file) {
  if (!config.data.path.empty()) return absl::OkStatus();
  return Wrong(file, "data.path",
               "is not set; add data.path=FOLDER to the command line, FOLDER being a data set that "
               "`mels extract` or `mels import-hw4` made");
}

absl::StatusOr<Config> LoadRunConfig(const std::string& name, const std::vector<std::string>& overrides) {
  const auto file = FindConfigFile(name, ExecutablePath());
  if (!file.ok()) return file.status();
  auto config = LoadConfig(*file, overrides);
  if (!config.ok()) return config;
  if (auto ready = CheckDataPath(*config, *file); !ready.ok()) return ready;
  return config;
}

std::vector<std::string> Warnings(const Config& config) {
  std::vector<std::string> warnings;
  const Config::Schedule& schedule = config.schedule;
  if (schedule.warmup_steps >= schedule.total_steps) {
    warnings.push_back(absl::StrCat("schedule.warmup_steps (", schedule.warmup_steps,
                                    ") is not below schedule.total_steps (", schedule.total_steps,
                                    "): the learning rate never reaches optimizer.lr"));
  }
  if (config.data.train_split == config.data.valid_split) {
    warnings.push_back(absl::StrCat("data.train_split and data.valid_split are both '",
                                    config.data.train_split,
                                    "': the validation accuracy will say nothing about unseen utterances"));
  }
  return warnings;
}

nlohmann::json ToJson(const Config& config) {
  nlohmann::json json = nlohmann::json::object();
  for (const Field& field : Fields()) {
    auto* at = &json;
    for (const auto word : absl::StrSplit(field.key, '.')) at = &(*at)[std::string(word)];
    *at = field.get(config);
  }
  return json;
}

}  // namespace trainer::config
