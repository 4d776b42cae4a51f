// The configuration and its table of keys as text.

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "trainer/config/config.h"
#include "trainer/config/fields.h"

namespace trainer::config {

std::string ToYaml(const Config& config) {
  std::string yaml;
  std::vector<std::string> open;  // the sections that the last key lies in
  for (const Field& field : Fields()) {
    const std::vector<std::string> sections = absl::StrSplit(field.section(), '.');
    for (size_t depth = 0; depth < sections.size(); ++depth) {
      if (depth < open.size() && open[depth] == sections[depth]) continue;
      open.resize(depth);
      open.push_back(sections[depth]);
      absl::StrAppend(&yaml, yaml.empty() || depth > 0 ? "" : "\n", std::string(2 * depth, ' '),
                      sections[depth], ":\n");
    }
    open.resize(sections.size());
    const std::string indent(2 * sections.size(), ' ');
    const std::string allowed = field.rule.Describe();
    absl::StrAppend(&yaml, indent, "# ", field.doc, allowed.empty() ? "" : absl::StrCat(" (", allowed, ")"),
                    "\n");
    absl::StrAppend(&yaml, indent, field.name(), ": ", Print(field.get(config)), "\n");
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
