#include "data/pt_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "audio_fixtures.h"
#include "data/zip_reader.h"
#include "pt_bytes.h"

namespace data {
namespace {

using ::testing::HasSubstr;
using testing::PtBytes;

absl::StatusOr<PtMatrix> Parse(const std::string& bytes) {
  // A copy on the heap of just this size, so that a sanitizer sees every byte read beyond it.
  const std::vector<uint8_t> exact(bytes.begin(), bytes.end());
  return ParsePtMatrix(exact);
}

void ExpectPtError(const std::string& bytes, absl::StatusCode code, const std::string& message) {
  const auto matrix = Parse(bytes);
  ASSERT_FALSE(matrix.ok()) << message;
  EXPECT_EQ(matrix.status().code(), code) << matrix.status();
  EXPECT_THAT(std::string(matrix.status().message()), HasSubstr(message));
}

const std::vector<float> kSix = {1, 2, 3, 4, 5, 6};

TEST(PtFile, ReadsAMatrix) {
  const auto matrix = Parse(PtBytes(2, 3, kSix));
  ASSERT_TRUE(matrix.ok()) << matrix.status();
  EXPECT_EQ(matrix->rows, 2);
  EXPECT_EQ(matrix->columns, 3);
  EXPECT_EQ(matrix->values, kSix);
}

TEST(PtFile, ReadsViews) {
  const auto transposed = Parse(PtBytes({.sizes = {3, 2}, .strides = {1, 3}}, kSix));
  ASSERT_TRUE(transposed.ok()) << transposed.status();
  EXPECT_EQ(transposed->values, (std::vector<float>{1, 4, 2, 5, 3, 6}));
  const auto part = Parse(PtBytes({.offset = 2, .sizes = {2, 1}, .strides = {3, 1}}, kSix));
  ASSERT_TRUE(part.ok()) << part.status();
  EXPECT_EQ(part->values, (std::vector<float>{3, 6}));
}

TEST(PtFile, RefusesTensorsBeyondTheirStorage) {
  constexpr int64_t kBig = 0x7fffffff;
  for (const testing::PickleParts& parts : std::vector<testing::PickleParts>{
           {.sizes = {3, 3}, .strides = {3, 1}},
           {.offset = 1, .sizes = {2, 3}, .strides = {3, 1}},
           {.offset = -1, .sizes = {2, 3}, .strides = {3, 1}},
           {.sizes = {2, 3}, .strides = {-3, 1}},
           {.sizes = {kBig, kBig}, .strides = {1, 1}},
           {.sizes = {2, 2}, .strides = {kBig, kBig}},
           {.sizes = {-2, 3}, .strides = {3, 1}},
           {.sizes = {kBig, 3}, .strides = {0, 1}},
       }) {
    ExpectPtError(PtBytes(parts, kSix), absl::StatusCode::kDataLoss, "beyond its stored values");
  }
}

TEST(PtFile, RefusesOtherThings) {
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  ExpectPtError(PtBytes({.storage = "HalfStorage", .sizes = {2, 3}, .strides = {3, 1}}, kSix), kInvalid,
                "HalfStorage");
  ExpectPtError(PtBytes({.sizes = {6}, .strides = {1}}, kSix), kInvalid, "1 dimensions");
  ExpectPtError(PtBytes({.sizes = {0, 3}, .strides = {3, 1}}, kSix), kInvalid, "empty tensor");
  ExpectPtError(testing::ZipBytes({{"word/document.xml", "<xml/>"}}), kInvalid, "none that torch.save wrote");
  ExpectPtError(testing::ZipBytes({{"a/data.pkl", "\x80\x02}q\x01."}}), kInvalid, "something else");
  ExpectPtError(testing::ZipBytes({{"a/data.pkl", std::string(5000, 'N') + "."}}), kInvalid,
                "something else");
  ExpectPtError(testing::ZipBytes({{"a/data.pkl", ""}, {"a/byteorder", "big"}}), kInvalid, "big-endian");
  ExpectPtError(std::string("\x80\x02\x8a\x0a\x6c\xfc", 6), kInvalid, "old format");
  ExpectPtError("", absl::StatusCode::kDataLoss, "empty");
  ExpectPtError("hello, this is no tensor at all", absl::StatusCode::kDataLoss,
                "not a file that torch.save wrote");
  EXPECT_EQ(ReadPtMatrix("/nowhere/at/all.pt").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ReadPtMatrix("/").status().code(), kInvalid);
}

TEST(PtFile, NoticesEveryChangedByteOfTheValues) {
  const std::string whole = PtBytes(2, 3, kSix);
  const size_t values = whole.find(testing::FloatBytes(kSix));
  ASSERT_NE(values, std::string::npos);
  for (size_t i = 0; i < 24; ++i) {
    std::string bytes = whole;
    bytes[values + i] = static_cast<char>(bytes[values + i] ^ 1);
    ExpectPtError(bytes, absl::StatusCode::kDataLoss, "checksum");
  }
}

TEST(PtFile, EveryTruncationIsAnError) {
  const std::string whole = PtBytes(2, 3, kSix);
  for (size_t size = 0; size < whole.size(); ++size) EXPECT_FALSE(Parse(whole.substr(0, size)).ok()) << size;
}

// Damage anywhere in the container, checksums left alone: an error, or the very same values.
TEST(PtFile, DamagedContainersNeverCrash) {
  const std::string whole = PtBytes(2, 3, kSix);
  std::mt19937 generator(5);
  for (int round = 0; round < 50000; ++round) {
    std::string bytes = whole;
    for (uint32_t flips = 1 + generator() % 4; flips > 0; --flips) {
      bytes[generator() % bytes.size()] = static_cast<char>(generator());
    }
    const auto matrix = Parse(bytes);
    if (matrix.ok()) {
      ASSERT_EQ(matrix->values, kSix);
    }
  }
}

// Damage in the pickle, with the checksum made right again: what only the pickle machine can stop.
TEST(PtFile, DamagedPicklesNeverCrash) {
  const std::string whole = testing::TensorPickle({.sizes = {2, 3}, .strides = {3, 1}});
  constexpr char kOps[] = "(.JKMNQRXchjqrt})\x80\x85\x86\x87\x88\x89\x8a\x8c\x93\x94\x95";
  std::mt19937 generator(6);
  for (int round = 0; round < 50000; ++round) {
    std::string pickle = whole;
    for (uint32_t edits = 1 + generator() % 4; edits > 0; --edits) {
      const size_t at = generator() % pickle.size();
      const auto byte =
          static_cast<char>(generator() % 2 == 0 ? kOps[generator() % (sizeof(kOps) - 1)] : generator());
      switch (generator() % 3) {
        case 0:
          pickle[at] = byte;
          break;
        case 1:
          pickle.insert(at, 1, byte);
          break;
        default:
          pickle.erase(at, 1 + generator() % 3);
      }
      if (pickle.empty()) pickle.assign(1, '.');
    }
    const auto matrix =
        Parse(testing::ZipBytes({{"a/data.pkl", pickle}, {"a/data/0", testing::FloatBytes(kSix)}}));
    if (matrix.ok()) {
      ASSERT_LE(matrix->values.size(), kSix.size());
    }
  }
}

// References to references double in size at each step if they are copied.
TEST(PtFile, NestedReferencesStaySmall) {
  std::string pickle = "\x80\x02)q";
  pickle += '\0';
  for (int i = 0; i < 200; ++i) {
    pickle += std::string("h\0h\0\x86q\0", 7);
  }
  pickle += ".";
  ExpectPtError(testing::ZipBytes({{"a/data.pkl", pickle}}), absl::StatusCode::kDataLoss, "pickle");
}

TEST(ZipReader, RefusesOverlappingEntries) {
  const std::string content(100000, 'x');
  std::string bytes = testing::ZipBytes({{"a", content}, {"b", "y"}});
  // Let b's central record be a copy of a's: both then claim the same bytes.
  const size_t central_b = bytes.size() - 22 - 47;
  const size_t central_a = central_b - 47;
  bytes.replace(central_b, 46, bytes.substr(central_a, 46));
  const auto entries = ReadStoredZip({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
  ASSERT_FALSE(entries.ok());
  EXPECT_THAT(std::string(entries.status().message()), HasSubstr("overlap"));
}

}  // namespace
}  // namespace data
