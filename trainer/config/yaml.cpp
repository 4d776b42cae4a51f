#include "trainer/config/yaml.h"

#include <yaml-cpp/yaml.h>

#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "trainer/config/fields.h"

namespace trainer::config {
namespace {

absl::Status Wrong(const std::string& where, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat(where, ": ", what));
}

// nullopt: not a scalar, or a list of something else.
std::optional<RawValue> ToRaw(const YAML::Node& node) {
  RawValue raw;
  if (node.IsSequence()) {
    raw.is_list = true;
    for (const YAML::Node& item : node) {
      if (!item.IsScalar()) return std::nullopt;
      raw.items.push_back(item.Scalar());
    }
    return raw;
  }
  if (!node.IsScalar() && !node.IsNull()) return std::nullopt;
  raw.items.push_back(node.IsNull() ? "" : node.Scalar());
  // yaml-cpp's tag for a plain scalar is "?", for a quoted one "!".
  raw.quoted = node.IsScalar() && node.Tag() != "?" && !node.Tag().empty();
  return raw;
}

// Appends the entries of one map. No deeper than the table's sections lie in each other.
absl::Status Flatten(const YAML::Node& map, const std::string& section, const std::string& name,
                     std::vector<Entry>* entries) {
  for (const auto& item : map) {
    const std::string where = absl::StrCat(name, ":", item.first.Mark().line + 1);
    if (!item.first.IsScalar()) return Wrong(where, "a key must be a plain word");
    const std::string& word = item.first.Scalar();
    const std::string key = section.empty() ? word : absl::StrCat(section, ".", word);
    const YAML::Node& value = item.second;
    if (IsSection(key)) {
      if (value.IsNull()) continue;
      if (!value.IsMap()) return Wrong(where, absl::StrCat(key, ": is a section; indent its keys below it"));
      if (absl::Status status = Flatten(value, key, name, entries); !status.ok()) return status;
      continue;
    }
    std::optional<RawValue> raw = ToRaw(value);
    // Of an unknown key the name is the matter, whatever its value looks like.
    if (!raw && FindField(key) != nullptr) {
      return Wrong(where, absl::StrCat(key, ": wants a value, not a list of lists or keys of its own"));
    }
    entries->push_back({key, where, raw.value_or(RawValue{{""}})});
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<Entry>> ReadEntries(const std::string& text, const std::string& name) {
  std::vector<Entry> entries;
  try {
    const std::vector<YAML::Node> documents = YAML::LoadAll(text);
    if (documents.size() > 1)
      return Wrong(name, "holds more than one YAML document; remove the '---' between them");
    if (documents.empty() || documents[0].IsNull()) return entries;
    if (!documents[0].IsMap()) {
      return Wrong(
          name, "is not a configuration: it must consist of sections with keys, as in configs/simple.yaml");
    }
    if (absl::Status status = Flatten(documents[0], "", name, &entries); !status.ok()) return status;
  } catch (const YAML::Exception& error) {
    // A message of yaml-cpp may quote the text, line breaks and all.
    const std::string reason = absl::StrReplaceAll(error.msg, {{"\n", " "}, {"\r", " "}});
    return Wrong(absl::StrCat(name, ":", error.mark.line + 1),
                 absl::StrCat("not valid YAML at column ", error.mark.column + 1, ": ", reason,
                              "; check the indentation, the colons and the quotes"));
  }
  return entries;
}

}  // namespace trainer::config
