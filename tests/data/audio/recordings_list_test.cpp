#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "audio_fixtures.h"
#include "data/audio_sources.h"
#include "data/csv.h"

namespace data {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> Names(const IngestList& list) {
  std::vector<std::string> names;
  for (const IngestItem& item : list.items) {
    names.push_back(list.speakers[static_cast<size_t>(item.speaker)] + "|" + item.name + "|" + item.split);
  }
  return names;
}

void ExpectError(const absl::Status& status, const std::string& message) {
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(message));
}

TEST(ParseCsv, QuotesLineEndsAndCommas) {
  const auto rows = ParseCsv(
      "\xEF\xBB\xBF"
      "a,b\r\n\"x,1\",\"he said \"\"no\"\"\"\r\n\r\n\"two\nlines\",\nlast,\"\"");
  ASSERT_TRUE(rows.ok()) << rows.status();
  ASSERT_EQ(rows->size(), 4u);
  EXPECT_THAT((*rows)[0].fields, ElementsAre("a", "b"));
  EXPECT_THAT((*rows)[1].fields, ElementsAre("x,1", "he said \"no\""));
  EXPECT_THAT((*rows)[2].fields, ElementsAre("two\nlines", ""));
  EXPECT_EQ((*rows)[2].line, 4);
  EXPECT_THAT((*rows)[3].fields, ElementsAre("last", ""));
  EXPECT_EQ((*rows)[3].line, 6);
  EXPECT_TRUE(ParseCsv("")->empty());
}

TEST(ParseCsv, NamesTheLineThatIsWrong) {
  ExpectError(ParseCsv("a,b\n1,2\n1,2,3\n").status(), "line 3: 3 fields where the header has 2");
  ExpectError(ParseCsv("a,b\n1,\"2\n3\n").status(), "line 2: a quote is opened and never closed");
  ExpectError(ParseCsv("a,b\n\"1\"x,2\n").status(), "line 2: text after a closing quote");
  ExpectError(ParseCsv("a,b\n1\"2,3\n").status(), "line 2: a quote inside");
  ExpectError(ParseCsv(std::string("a\0b", 3)).status(), "zero bytes");
}

TEST(QuoteCsv, RoundTrips) {
  for (const std::string field : {"plain", "a,b", "say \"x\"", "two\nlines", "cr\r", ""}) {
    const auto rows = ParseCsv("h,i\n" + QuoteCsv(field) + ",x\n");
    ASSERT_TRUE(rows.ok()) << rows.status();
    EXPECT_EQ((*rows)[1].fields[0], field);
  }
}

TEST(ListRecordings, TreeSortedBySpeakerAndName) {
  const testing::TempFolder folder;
  for (const char* name : {"bob/2.wav", "bob/1.FLAC", "ann/deep/er/x.mp3", "ann/a.ogg", "ann/notes.txt",
                           "bob/.hidden.wav", ".git/x.wav", "readme.md", "cyd smith/ä.flac"}) {
    testing::WriteBytes(folder.File(name), "");
  }
  for (const std::string& source : {folder.path(), folder.path() + "/", folder.path() + "/bob/.."}) {
    const auto list = ListRecordings(source, false);
    ASSERT_TRUE(list.ok()) << list.status();
    EXPECT_THAT(list->speakers, ElementsAre("ann", "bob", "cyd smith"));
    EXPECT_THAT(Names(*list),
                ElementsAre("ann|ann/a.ogg|train", "ann|ann/deep/er/x.mp3|train", "bob|bob/1.FLAC|train",
                            "bob|bob/2.wav|train", "cyd smith|cyd smith/ä.flac|train"));
    EXPECT_TRUE(std::filesystem::exists(list->items[0].path));
  }
}

TEST(ListRecordings, TreesThatCannotBeMeant) {
  const testing::TempFolder folder;
  ExpectError(ListRecordings(folder.path(), false).status(), "no recordings");
  testing::WriteBytes(folder.File("ann/1.wav"), "");
  testing::WriteBytes(folder.File("bob/notes.txt"), "");
  ExpectError(ListRecordings(folder.path(), false).status(), "bob: a speaker without recordings");
  EXPECT_THAT(ListRecordings(folder.path(), true)->speakers, ElementsAre("ann"));
  testing::WriteBytes(folder.File("stray.wav"), "");
  ExpectError(ListRecordings(folder.path(), true).status(), "stray.wav: lies in no speaker's folder");
  ExpectError(ListRecordings(folder.path() + "/stray.wav", true).status(), "is one recording");
  EXPECT_EQ(ListRecordings(folder.path() + "/none", true).status().code(), absl::StatusCode::kNotFound);
}

TEST(ListRecordings, NamesThatAreNoText) {
  const testing::TempFolder folder;
  testing::WriteBytes(folder.File("ann/\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80.wav"), "");
  EXPECT_TRUE(ListRecordings(folder.path(), false).ok());
  testing::WriteBytes(folder.File("bo\xff/1.wav"), "");
  ExpectError(ListRecordings(folder.path(), false).status(), "bo\\xff/1.wav\": the name is not UTF-8");
  testing::WriteBytes(folder.File("list.csv"), "path,speaker\na.wav,ann\nb.wav,J\xf6rg\n");
  ExpectError(ListRecordings(folder.path() + "/list.csv", false).status(), "list.csv: line 3: is not UTF-8");
}

TEST(ListRecordings, LinksInCirclesEnd) {
  const testing::TempFolder folder;
  testing::WriteBytes(folder.File("ann/1.wav"), "");
  std::filesystem::create_directory_symlink(folder.path() + "/ann", folder.path() + "/ann/again");
  ExpectError(ListRecordings(folder.path(), false).status(), "does a link in it lead back up?");
}

TEST(ListRecordings, CsvKeepsTheOrderOfASpeakersRows) {
  const testing::TempFolder folder;
  testing::WriteBytes(folder.File("list.csv"),
                      "speaker,note,path,split\r\nzoe,\"x, y\",b/2.wav,train\r\nann,,./c/../c/3.wav,test\r\n"
                      "zoe,,a 1.wav,valid\r\n");
  const auto list = ListRecordings(folder.path() + "/list.csv", false);
  ASSERT_TRUE(list.ok()) << list.status();
  EXPECT_THAT(Names(*list), ElementsAre("ann|c/3.wav|test", "zoe|b/2.wav|train", "zoe|a 1.wav|valid"));
  EXPECT_EQ(list->items[1].path, folder.path() + "/b/2.wav");
}

TEST(ListRecordings, CsvWithoutSplitsIsAllTrain) {
  const testing::TempFolder folder;
  testing::WriteBytes(folder.File("list.csv"), "path,speaker\n/far/away.wav,ann\n");
  const auto list = ListRecordings(folder.path() + "/list.csv", false);
  ASSERT_TRUE(list.ok()) << list.status();
  EXPECT_THAT(Names(*list), ElementsAre("ann|/far/away.wav|train"));
  EXPECT_EQ(list->items[0].path, "/far/away.wav");
}

TEST(ListRecordings, CsvMistakesNameTheLine) {
  const testing::TempFolder folder;
  const std::string path = folder.File("list.csv");
  const auto expect = [&](const std::string& text, const std::string& message) {
    testing::WriteBytes(path, text);
    ExpectError(ListRecordings(path, false).status(), path + ": " + message);
  };
  expect("", "is empty");
  expect("path,speaker\n", "has a header, but no rows");
  expect("file,speaker\na.wav,ann\n", "line 1: no column 'path'; the header has: file, speaker");
  expect("path,name\na.wav,ann\n", "line 1: no column 'speaker'");
  expect("path,speaker,path\na,b,c\n", "line 1: two columns are called 'path'");
  expect("path,speaker\na.wav,ann\n,ann\n", "line 3: the path is empty");
  expect("path,speaker\na.wav,\n", "line 2: the speaker is empty");
  expect("path,speaker,split\na.wav,ann,\n", "line 2: '' cannot name a split");
  expect("path,speaker\na.wav,ann\nb.wav,ann\n./a.wav,bob\n", "line 4: './a.wav' stands in line 2 already");
  expect("path,speaker\na.wav\n", "line 2: 1 fields");
}

}  // namespace
}  // namespace data
