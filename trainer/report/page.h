// The HTML page around a document.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace trainer::report {

// One file that needs no other and no network: the page's frame, style sheet and scripts (the files beside
// this one, which are part of the program) and `document` (document.h). Nothing in `document` can become
// markup or script; bytes that are not UTF-8 become U+FFFD. `title` is plain text.
std::string RenderPage(const nlohmann::ordered_json& document, const std::string& title);

// `text` as it stands in HTML, between tags or in a quoted attribute.
std::string EscapeHtml(const std::string& text);

}  // namespace trainer::report
