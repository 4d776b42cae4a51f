// The safetensors format: what is written is read, and bad bytes are told apart from good ones without a
// crash.
#include "trainer/checkpoint/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "tests/trainer/checkpoint/temporary_folder.h"

namespace trainer::checkpoint {
namespace {

using ::testing::HasSubstr;

NamedTensors SomeTensors() {
  torch::manual_seed(3);
  NamedTensors tensors;
  tensors.emplace_back("flags", torch::tensor({true, false, true}));
  tensors.emplace_back("weight", torch::randn({4, 5}));
  tensors.emplace_back("bias", torch::randn({5}).to(torch::kBFloat16));
  tensors.emplace_back("half", torch::randn({3}).to(torch::kHalf));
  tensors.emplace_back("double", torch::randn({2, 3}, torch::kDouble));
  tensors.emplace_back("count", torch::tensor(int64_t{1} << 60));
  tensors.emplace_back("int", torch::tensor({-1, 2}, torch::kInt));
  tensors.emplace_back("bytes", torch::tensor({0, 255}, torch::kByte));
  tensors.emplace_back("empty", torch::empty({0, 7}));
  return tensors;
}

void ExpectEqual(const NamedTensors& actual, const NamedTensors& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(actual[i].first, expected[i].first);
    ASSERT_EQ(actual[i].second.scalar_type(), expected[i].second.scalar_type()) << expected[i].first;
    EXPECT_TRUE(torch::equal(actual[i].second, expected[i].second)) << expected[i].first;
  }
}

std::string Encoded(const NamedTensors& tensors, const Metadata& metadata = {}) {
  const EncodedSafetensors encoded = EncodeSafetensors(tensors, metadata).value();
  std::string bytes;
  for (const std::span<const char> piece : encoded.Pieces()) {
    bytes.append(piece.data(), piece.size());
  }
  return bytes;
}

absl::StatusOr<Safetensors> Parse(const std::string& bytes) {
  return ParseSafetensors({bytes.data(), bytes.size()}, "x");
}

TEST(Safetensors, KeepsTypesShapesValuesOrderAndMetadata) {
  const TemporaryFolder folder;
  const Metadata metadata = {{"format", "pt"}, {"note", "\"quoted\" é \n"}};
  const NamedTensors tensors = SomeTensors();
  ASSERT_TRUE(WriteSafetensors(folder / "a.safetensors", tensors, metadata).ok());
  absl::StatusOr<Safetensors> file = ReadSafetensors(folder / "a.safetensors");
  ASSERT_TRUE(file.ok()) << file.status();
  ExpectEqual(file->tensors, tensors);
  EXPECT_EQ(file->metadata, metadata);
  ExpectEqual(Parse(Encoded({}))->tensors, {});
}

TEST(Safetensors, FollowsTheFormat) {
  const std::string bytes =
      Encoded({{"b", torch::tensor({true})}, {"a", torch::tensor({1.0f, 2.0f})}}, {{"k", "v"}});
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), 8);
  std::string header = bytes.substr(8, length);
  header.erase(header.find_last_not_of(' ') + 1);
  EXPECT_EQ(header, R"({"__metadata__":{"k":"v"},"b":{"dtype":"BOOL","shape":[1],"data_offsets":[8,9]},)"
                    R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})")
      << "wide types first, so that none is misaligned";
  EXPECT_EQ(length % 8, 0);
  EXPECT_EQ(bytes.substr(8 + length), std::string("\0\0\x80?\0\0\0@\1", 9));
}

TEST(Safetensors, WritesWhatAViewShows) {
  const torch::Tensor base = torch::arange(12.0).reshape({3, 4});
  absl::StatusOr<Safetensors> file = Parse(Encoded({{"t", base.t()}, {"row", base[1].requires_grad_()}}));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_TRUE(torch::equal(file->tensors[0].second, base.t()));
  EXPECT_TRUE(torch::equal(file->tensors[1].second, base[1]));
}

TEST(Safetensors, RefusesWhatTheFormatLacks) {
  const torch::Tensor one = torch::ones(1);
  const auto error = [](const NamedTensors& tensors) {
    absl::StatusOr<EncodedSafetensors> encoded = EncodeSafetensors(tensors);
    EXPECT_EQ(encoded.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(encoded.status().message());
  };
  EXPECT_EQ(error({{"a", one}, {"a", one}}), "tensor \"a\" cannot be saved: the name is there twice");
  EXPECT_THAT(error({{"__metadata__", one}}), HasSubstr("reserved"));
  EXPECT_THAT(error({{"\xff", one}}), HasSubstr("not UTF-8"));
  EXPECT_THAT(error({{"a", torch::Tensor()}}), HasSubstr("undefined"));
  EXPECT_THAT(error({{"a", one.to_sparse()}}), HasSubstr("not dense"));
  EXPECT_THAT(error({{"a", torch::ones(1, torch::kComplexFloat)}}), HasSubstr("no ComplexFloat"));
  EXPECT_FALSE(EncodeSafetensors({}, {{"k", "\xff"}}).ok());
}

TEST(Safetensors, MissingFilesAndFolders) {
  const TemporaryFolder folder;
  const absl::Status missing = ReadSafetensors(folder / "none.safetensors").status();
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.message()), HasSubstr(folder / "none.safetensors"));
  EXPECT_FALSE(ReadSafetensors(folder.path().string()).ok());
  EXPECT_FALSE(WriteSafetensors(folder / "no/such/folder", {}).ok());
}

std::string File(const std::string& header, size_t data_bytes) {
  const uint64_t length = header.size();
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  return bytes + header + std::string(data_bytes, '\2');
}

TEST(Safetensors, DamagedHeadersAreNamed) {
  const auto entry = [](const std::string& dtype, const std::string& shape, const std::string& offsets) {
    return "{\"dtype\":\"" + dtype + "\",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}";
  };
  const std::string good = entry("F32", "[2]", "[0,8]");
  ASSERT_TRUE(Parse(File("{\"a\":" + good + "}", 8)).ok());
  const std::pair<std::string, const char*> wrong[] = {
      {"", "only 0 bytes"},
      {"1234567", "only 7 bytes"},
      {std::string(8, '\xff') + "{}", "a header of 18446744073709551615 bytes does not fit its 10 bytes"},
      {File("", 0), "its header is not"},
      {File("[]", 0), "its header is not"},
      {File("{", 0), "its header is not"},
      {File(std::string(100000, '['), 0), "its header is not"},
      {File("{\"a\":" + std::string(100000, '['), 0), "its header is not"},
      {File("{\"a\":{\"dtype\":{\"x\":{\"y\":{}}}}}", 0), "its header is not"},
      {File("{\"a\":1}", 8), "lacks dtype, shape or data_offsets"},
      {File("{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8), "lacks dtype, shape or data_offsets"},
      {File("{\"a\":" + entry("F8_E4M3", "[8]", "[0,8]") + "}", 8), "dtype \"F8_E4M3\" is not supported"},
      {File("{\"a\":" + entry("F32", "[-2]", "[0,8]") + "}", 8), "something other than sizes"},
      {File("{\"a\":" + entry("F32", "[2.0]", "[0,8]") + "}", 8), "something other than sizes"},
      {File("{\"a\":" + entry("F32", "[3]", "[0,8]") + "}", 8), "[3] need 12 bytes, but it has 8"},
      {File("{\"a\":" + entry("F32", "[4611686018427387906]", "[0,8]") + "}", 8), "too large for any memory"},
      {File("{\"a\":" + entry("F32", "[4294967296,4294967296]", "[0,0]") + "}", 0),
       "too large for any memory"},
      {File("{\"a\":" + entry("F32", "[0,4294967296,4294967296]", "[0,0]") + "}", 0),
       "too large for any memory"},
      {File("{\"a\":" + entry("F32", "[18446744073709551616]", "[0,8]") + "}", 8),
       "something other than sizes"},
      {File("{\"a\":" + entry("F32", "[2]", "[0,16]") + "}", 8), "lie outside the file's 8 bytes"},
      {File("{\"a\":" + entry("F32", "[2]", "[8,0]") + "}", 8), "lie outside the file's 8 bytes"},
      {File("{\"a\":" + entry("F32", "[2]", "[18446744073709551608,0]") + "}", 8), "lie outside"},
      {File("{\"a\":" + entry("F32", "[2]", "[0]") + "}", 8), "are not two offsets"},
      {File("{\"a\":" + good + ",\"b\":" + entry("F32", "[2]", "[4,12]") + "}", 12),
       "inside the one before it"},
      {File("{\"a\":" + good + ",\"b\":" + good + "}", 8), "inside the one before it"},
      {File("{\"a\":" + good + ",\"b\":" + entry("F32", "[1]", "[12,16]") + "}", 16),
       "not behind the one before it"},
      {File("{\"a\":" + good + "}", 9), "1 bytes at its end belong to no tensor"},
      {File("{\"a\":" + good + ",\"a\":" + good + "}", 8), "tensor \"a\" is there twice"},
      {File("{\"a\":" + entry("BOOL", "[1]", "[0,1]") + "}", 1), "bools other than 0 and 1"},
      {File("{\"__metadata__\":1}", 0), "its metadata is not an object"},
      {File("{\"__metadata__\":{\"k\":1}}", 0), "metadata \"k\" is not a string"},
  };
  for (const auto& [bytes, message] : wrong) {
    const absl::Status status = Parse(bytes).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << bytes.substr(0, 200);
    EXPECT_THAT(std::string(status.message()), HasSubstr(message));
  }
}

// Without a checksum not every change shows, but none may crash or read outside (which the asan build tells).
TEST(Safetensors, AnyBytesGiveAStatus) {
  const uint64_t seed = 1234;
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  const std::string good = Encoded(SomeTensors(), {{"format", "pt"}});
  int errors = 0;
  constexpr int kRounds = 20000;
  for (int i = 0; i < kRounds; ++i) {
    std::string bytes = good;
    for (size_t changes = 1 + random() % 3; changes > 0; --changes) {
      // Digits for digits as well, since those reach the arithmetic.
      char& c = bytes[random() % bytes.size()];
      c = c >= '0' && c <= '9' ? static_cast<char>('0' + random() % 10) : static_cast<char>(random());
    }
    if (i % 8 == 0) bytes.resize(random() % bytes.size());
    absl::StatusOr<Safetensors> file = Parse(bytes);
    if (file.ok()) continue;
    ++errors;
    ASSERT_EQ(file.status().code(), absl::StatusCode::kDataLoss);
    ASSERT_EQ(file.status().message().find('\n'), absl::string_view::npos) << file.status();
  }
  EXPECT_GT(errors, kRounds / 2);
}

}  // namespace
}  // namespace trainer::checkpoint
