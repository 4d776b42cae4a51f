#include "trainer/report/page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace trainer::report {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// What stands in the element `data`.
std::string DataOf(const std::string& page) {
  const std::string begin = "<script id=\"data\" type=\"application/json\">";
  const size_t from = page.find(begin) + begin.size();
  return page.substr(from, page.find("</script", from) - from);
}

TEST(Page, HostileTextStaysText) {
  const std::string hostile = "</script><script>alert(1)</script><!--\"'&\n\u2028 {{script}} \\u003c é 你";
  const nlohmann::ordered_json document = {{"name", hostile}, {hostile, 1}};
  const auto page = RenderPage(document, hostile);
  EXPECT_THAT(page, Not(HasSubstr("<script>alert")));
  const auto data = DataOf(page);
  EXPECT_EQ(data.find_first_of("<>&"), std::string::npos);
  EXPECT_EQ(nlohmann::ordered_json::parse(data), document);
  EXPECT_THAT(page, HasSubstr("&lt;/script&gt;&lt;script&gt;alert(1)"));
}

TEST(Page, BytesThatAreNotUtf8AreReplaced) {
  const auto page = RenderPage({{"name", "a\xff"}}, "t\xfe");
  EXPECT_EQ(nlohmann::json::parse(DataOf(page))["name"], "a\ufffd");
  EXPECT_THAT(page, HasSubstr("<title>t\ufffd</title>"));
}

TEST(Page, NeedsNoOtherFile) {
  const auto page = RenderPage({{"runs", 1}}, "t");
  EXPECT_THAT(page, Not(HasSubstr("{{")));
  for (const char* other : {" src=", "@import", "url(", "https://"}) EXPECT_THAT(page, Not(HasSubstr(other)));
  EXPECT_THAT(page, HasSubstr("default-src 'none'"));
}

TEST(EscapeHtml, EveryCharacterThatMeansSomething) {
  EXPECT_EQ(EscapeHtml("a<b>&\"c'"), "a&lt;b&gt;&amp;&quot;c&#39;");
}

}  // namespace
}  // namespace trainer::report
