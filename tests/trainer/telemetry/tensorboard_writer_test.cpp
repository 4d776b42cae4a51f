#include "trainer/telemetry/tensorboard_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/resource.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <numeric>
#include <sstream>

#include "trainer/telemetry/histogram.h"

namespace trainer::telemetry {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class TensorBoardWriterTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "tensorboard-test-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    scratch_ = name;
    folder_ = name + "/tb";
  }
  void TearDown() override { fs::remove_all(scratch_); }

  // The event files' names, sorted.
  std::vector<std::string> Files() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_)) names.push_back(entry.path().filename());
    std::sort(names.begin(), names.end());
    return names;
  }

  std::string Content(const std::string& name) const {
    std::ostringstream text;
    text << std::ifstream(fs::path(folder_) / name, std::ios::binary).rdbuf();
    return text.str();
  }

  std::string scratch_;
  std::string folder_;  // not there yet
};

Summary Scalar(double value) {
  Summary summary;
  summary.AddScalar("x", value);
  return summary;
}

// The lengths of the records in `content`, whose frames must fill it exactly.
std::vector<size_t> Records(const std::string& content) {
  std::vector<size_t> lengths;
  size_t at = 0;
  while (at < content.size()) {
    uint64_t length = 0;
    std::memcpy(&length, content.data() + at, sizeof length);
    lengths.push_back(length);
    at += length + 16;
  }
  EXPECT_EQ(at, content.size());
  return lengths;
}

TEST(Crc32c, KnownValues) {  // RFC 3720, B.4
  EXPECT_EQ(Crc32c(std::string(32, '\0')), 0x8A9136AAU);
  EXPECT_EQ(Crc32c(std::string(32, '\xff')), 0x62A8AB43U);
  std::string ascending(32, '\0');
  std::iota(ascending.begin(), ascending.end(), '\0');
  EXPECT_EQ(Crc32c(ascending), 0x46DD794EU);
  EXPECT_EQ(Crc32c("123456789"), 0xE3069283U);
}

TEST(Message, WireFormat) {  // examples of protobuf.dev/programming-guides/encoding
  EXPECT_EQ(Message().Integer(1, 150).bytes(), "\x08\x96\x01");
  EXPECT_EQ(Message().Bytes(2, "testing").bytes(), "\x12\x07testing");
  EXPECT_EQ(Message().Submessage(3, Message().Integer(1, 150)).bytes(), "\x1a\x03\x08\x96\x01");
}

TEST(Histogram, CountsEveryFiniteValueOnce) {
  std::vector<float> values(100);
  std::iota(values.begin(), values.end(), 0.0F);
  values.push_back(std::numeric_limits<float>::infinity());
  values.push_back(std::numeric_limits<float>::quiet_NaN());
  const auto histogram = HistogramOf(values, 3);
  EXPECT_EQ(histogram.min, 0);
  EXPECT_EQ(histogram.max, 99);
  EXPECT_EQ(histogram.count, 100);
  EXPECT_EQ(histogram.sum, 4950);
  EXPECT_EQ(histogram.sum_of_squares, 328350);
  EXPECT_THAT(histogram.limits, ElementsAre(33, 66, 99));
  EXPECT_THAT(histogram.counts, ElementsAre(33, 33, 34));
}

TEST(Histogram, ExtremeRanges) {
  constexpr float kMax = std::numeric_limits<float>::max(), kTiny = std::numeric_limits<float>::denorm_min();
  const auto wide = HistogramOf(std::vector<float>{-kMax, 0, kMax}, 3);
  EXPECT_THAT(wide.counts, ElementsAre(1, 1, 1));
  const auto narrow = HistogramOf(std::vector<float>{0, kTiny}, 4);
  EXPECT_THAT(narrow.counts, ElementsAre(1, 0, 0, 1));
  const auto alike = HistogramOf(std::vector<float>{2, 2}, 4);
  EXPECT_THAT(alike.limits, ElementsAre(2));
  EXPECT_THAT(alike.counts, ElementsAre(2));
  EXPECT_EQ(HistogramOf(std::vector<float>{}).count, 0);
}

TEST_F(TensorBoardWriterTest, EachStartHasAFileBehindTheOthers) {
  for (int start = 0; start < 3; ++start) {
    const auto writer = TensorBoardWriter::Open(folder_, 0);
    ASSERT_TRUE(writer.ok()) << writer.status();
    const auto files = Files();
    ASSERT_EQ(files.size(), start + 1U);  // within one second, too
    EXPECT_EQ(Records(Content(files.back())).size(), 2U);
  }
  // A file of another program, or of a clock that ran ahead.
  std::ofstream(fs::path(folder_) / "events.out.tfevents.4000000000.host") << "x";
  ASSERT_TRUE(TensorBoardWriter::Open(folder_, 0).ok());
  EXPECT_THAT(Files().back(), HasSubstr("tfevents.4000000001."));
}

TEST_F(TensorBoardWriterTest, AFullDiskLeavesWholeRecords) {
  auto writer = TensorBoardWriter::Open(folder_, 0);
  ASSERT_TRUE(writer.ok()) << writer.status();
  ASSERT_TRUE(writer->Write(Scalar(1), 1, 0).ok());
  const auto before = Content(Files().at(0));

  // The kernel refuses to let the file grow beyond this, in the midst of the record.
  rlimit old{};
  getrlimit(RLIMIT_FSIZE, &old);
  const rlimit tight{before.size() + 10, old.rlim_max};
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &tight);
  const auto status = writer->Write(Scalar(2), 2, 0);
  const auto after = Content(Files().at(0));
  setrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, old_handler);

  EXPECT_THAT(std::string(status.message()), HasSubstr("cannot write " + folder_));
  EXPECT_EQ(after, before);
  ASSERT_TRUE(writer->Write(Scalar(3), 3, 0).ok());
  EXPECT_EQ(Records(Content(Files().at(0))).size(), 4U);
}

TEST_F(TensorBoardWriterTest, SaysWhereItCannotWrite) {
  std::ofstream(folder_) << "a file";
  EXPECT_THAT(std::string(TensorBoardWriter::Open(folder_, 0).status().message()),
              HasSubstr("cannot create " + folder_));
}

}  // namespace
}  // namespace trainer::telemetry
