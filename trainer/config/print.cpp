// The configuration and its table of keys as text.

#include "absl/strings/str_cat.h"
#include "trainer/config/config.h"
#include "trainer/config/fields.h"

namespace trainer::config {

std::string ToYaml(const Config& config) {
  std::string yaml;
  std::string section;
  for (const Field& field : Fields()) {
    if (field.section() != section) {
      section = field.section();
      absl::StrAppend(&yaml, yaml.empty() ? "" : "\n", section, ":\n");
    }
    const std::string allowed = field.rule.Describe();
    absl::StrAppend(&yaml, "  # ", field.doc, allowed.empty() ? "" : absl::StrCat(" (", allowed, ")"), "\n");
    absl::StrAppend(&yaml, "  ", field.name(), ": ", Print(field.get(config)), "\n");
  }
  return yaml;
}

std::string MarkdownTable() {
  const Config defaults;
  std::string table = "| key | default | allowed | meaning |\n|---|---|---|---|\n";
  for (const Field& field : Fields()) {
    absl::StrAppend(&table, "| `", field.key, "` | `", Print(field.get(defaults)), "` | ",
                    field.rule.Describe(), " | ", field.doc, " |\n");
  }
  return table;
}

}  // namespace trainer::config
