#include "trainer/report/page.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "trainer/report/page_files.h"
#include "trainer/telemetry/valid_utf8.h"

namespace trainer::report {
namespace {

// A script element ends at the first "</script", whatever JSON it stands in, and "<!--" hides that end: no
// '<' may remain. In JSON it can only be in a string, where \u003c means the same.
std::string JsonForScript(const nlohmann::ordered_json& document) {
  return absl::StrReplaceAll(document.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace),
                             {{"<", "\\u003c"}, {">", "\\u003e"}, {"&", "\\u0026"}});
}

}  // namespace

std::string EscapeHtml(const std::string& text) {
  return absl::StrReplaceAll(
      telemetry::ValidUtf8(text),
      {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}, {"'", "&#39;"}});
}

std::string RenderPage(const nlohmann::ordered_json& document, const std::string& title) {
  // In one pass: what is put in is not looked at again.
  return absl::StrReplaceAll(
      page_files::page_html,
      {{"{{title}}", EscapeHtml(title)},
       {"{{style}}", page_files::page_css},
       {"{{data}}", JsonForScript(document)},
       {"{{script}}", absl::StrCat(page_files::format_js, page_files::chart_js, page_files::phases_js,
                                   page_files::speakers_js, page_files::page_js)}});
}

}  // namespace trainer::report
