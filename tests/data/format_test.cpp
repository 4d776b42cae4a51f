#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <hdf5.h>

#include <array>
#include <atomic>
#include <cmath>
#include <limits>
#include <thread>

#include "data/half.h"
#include "tests/data/dataset_fixtures.h"

namespace data {
namespace {

using ::testing::HasSubstr;

TEST(Half, WidensAllValuesAndNarrowsThemBack) {
  std::vector<uint16_t> halves(65536), back(65536);
  for (size_t i = 0; i < halves.size(); ++i) halves[i] = static_cast<uint16_t>(i);
  std::vector<float> floats(65536);
  HalfToFloat(halves.data(), floats.data(), halves.size());
  // The vector and the scalar way must agree: one value at a time takes the scalar one.
  for (size_t i = 0; i < halves.size(); ++i) {
    float alone;
    HalfToFloat(&halves[i], &alone, 1);
    const int exponent = static_cast<int>(i >> 10 & 31);
    const double fraction = static_cast<double>(i & 1023) / 1024;
    double expected = exponent == 0 ? std::ldexp(fraction, -14) : std::ldexp(1 + fraction, exponent - 15);
    if (exponent == 31) {
      if (fraction == 0) {
        EXPECT_TRUE(std::isinf(floats[i]) && std::isinf(alone));
      } else {
        EXPECT_TRUE(std::isnan(floats[i]) && std::isnan(alone));
      }
      continue;
    }
    if (i >= 32768) expected = -expected;
    ASSERT_EQ(floats[i], expected) << i;
    ASSERT_EQ(alone, expected) << i;
  }
  FloatToHalf(floats.data(), back.data(), floats.size());
  for (size_t i = 0; i < halves.size(); ++i) {
    if (std::isnan(floats[i])) continue;
    ASSERT_EQ(back[i], halves[i]);
  }
}

TEST(Half, RoundsToNearestEven) {
  const auto narrow = [](float value) {
    uint16_t half;
    FloatToHalf(&value, &half, 1);
    return half;
  };
  EXPECT_EQ(narrow(1.0f + 0x1p-11f), 0x3C00);             // tie, down to even
  EXPECT_EQ(narrow(1.0f + 3 * 0x1p-11f), 0x3C02);         // tie, up to even
  EXPECT_EQ(narrow(1.0f + 0x1p-11f + 0x1p-20f), 0x3C01);  // above the tie
  EXPECT_EQ(narrow(65519.0f), 0x7BFF);
  EXPECT_EQ(narrow(65520.0f), 0x7C00);
  EXPECT_EQ(narrow(0x1p-25f), 0);  // tie with zero
  EXPECT_EQ(narrow(-0x1.8p-25f), 0x8001);
}

class FormatTest : public ::testing::TestWithParam<DType> {};

TEST_P(FormatTest, RoundTripIsBitExactOverShards) {
  const TemporaryFolder folder;
  SmallDataset source = SeveralShards();
  source.dtype = GetParam();
  source.Write(folder.path());
  const auto dataset = OpenOrDie(folder.path());
  EXPECT_GT(dataset->manifest().shards.size(), 1u);
  ASSERT_EQ(dataset->size(), source.utterances);
  EXPECT_EQ(dataset->manifest().front_end, source.Options("").front_end);
  EXPECT_EQ(dataset->manifest().speakers, source.Options("").speakers);
  for (int64_t u = 0; u < source.utterances; ++u) {
    ASSERT_EQ(dataset->frames(u), source.Frames(u));
    EXPECT_EQ(dataset->speaker(u), source.Speaker(u));
    EXPECT_EQ(*dataset->utterance_id(u), source.Name(u));
    const std::vector<float> expected = source.Values(u);
    std::vector<float> values(expected.size());
    ASSERT_TRUE(dataset->Read(u, 0, source.Frames(u), values.data()).ok());
    EXPECT_TRUE(SameBits(values, expected)) << u;
    const int64_t first = source.Frames(u) / 3, count = source.Frames(u) / 2;
    std::vector<float> part(static_cast<size_t>(count * 40));
    ASSERT_TRUE(dataset->Read(u, first, count, part.data()).ok());
    EXPECT_TRUE(std::equal(part.begin(), part.end(), expected.begin() + first * 40));
  }
}

TEST_P(FormatTest, AnyHdf5ReaderSeesTheFrames) {
  const TemporaryFolder folder;
  SmallDataset source;
  source.dtype = GetParam();
  source.Write(folder.path());
  const hid_t file = H5Fopen(folder.path("shard-00000.h5").c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
  ASSERT_GE(file, 0);
  const hid_t frames = H5Dopen2(file, "frames", H5P_DEFAULT);
  const hid_t space = H5Dget_space(frames);
  hsize_t shape[2];
  ASSERT_EQ(H5Sget_simple_extent_dims(space, shape, nullptr), 2);
  EXPECT_EQ(shape[1], 8u);
  std::vector<float> values(shape[0] * shape[1]), expected;
  // HDF5 converts from float16 by its own reading of the stored type.
  ASSERT_GE(H5Dread(frames, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()), 0);
  for (int64_t u = 0; u < source.utterances; ++u) {
    const std::vector<float> more = source.Values(u);
    expected.insert(expected.end(), more.begin(), more.end());
  }
  EXPECT_TRUE(SameBits(values, expected));
  H5Sclose(space);
  H5Dclose(frames);
  H5Fclose(file);
}

INSTANTIATE_TEST_SUITE_P(DTypes, FormatTest, ::testing::Values(DType::kFloat32, DType::kFloat16),
                         [](const auto& param) { return DTypeName(param.param); });

TEST(Format, EqualInputGivesEqualFiles) {
  const TemporaryFolder folder;
  const SmallDataset source;
  source.Write(folder.path("a"));
  source.Write(folder.path("b"));
  for (const char* name : {"shard-00000.h5", "dataset.json"}) {
    EXPECT_EQ(ReadBytes(folder.path(std::string("a/") + name)),
              ReadBytes(folder.path(std::string("b/") + name)));
  }
}

TEST(Dataset, SplitsHoldTheirUtterances) {
  const TemporaryFolder folder;
  const SmallDataset source;
  source.Write(folder.path());
  const auto dataset = OpenOrDie(folder.path());
  int64_t total = 0;
  for (const char* split : {"train", "valid", "test"}) {
    std::vector<int64_t> expected;
    for (int64_t u = 0; u < source.utterances; ++u) {
      if (source.Split(u) == split) expected.push_back(u);
    }
    EXPECT_EQ(*dataset->Split(split), expected);
    total += static_cast<int64_t>(expected.size());
  }
  EXPECT_EQ(total, source.utterances);
  const absl::Status status = dataset->Split("dev").status();
  EXPECT_TRUE(absl::IsNotFound(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("'dev'; it has test, train, valid"));
}

TEST(Dataset, RefusesFramesThatAreNotThere) {
  const TemporaryFolder folder;
  const SmallDataset source;
  source.Write(folder.path());
  const auto dataset = OpenOrDie(folder.path());
  const int64_t frames = dataset->frames(0), huge = std::numeric_limits<int64_t>::max();
  float value[8 * 64];
  EXPECT_TRUE(dataset->Read(0, frames - 1, 1, value).ok());
  for (const auto& [u, first, count] : std::vector<std::array<int64_t, 3>>{{0, 0, frames + 1},
                                                                           {0, frames, 1},
                                                                           {0, -1, 1},
                                                                           {0, 0, -1},
                                                                           {0, 1, huge},
                                                                           {0, huge, 1},
                                                                           {-1, 0, 1},
                                                                           {60, 0, 1}}) {
    EXPECT_TRUE(absl::IsOutOfRange(dataset->Read(u, first, count, value)))
        << u << ' ' << first << ' ' << count;
  }
}

TEST(Dataset, ManyThreadsReadAtOnce) {
  const TemporaryFolder folder;
  const SmallDataset source = SeveralShards();
  source.Write(folder.path());
  const auto dataset = OpenOrDie(folder.path());
  std::vector<std::thread> threads;
  std::atomic<int64_t> wrong = 0;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int64_t i = 0; i < source.utterances; ++i) {
        const int64_t u = (i * 13 + t * 7) % source.utterances;
        std::vector<float> values(static_cast<size_t>(dataset->frames(u) * 40));
        const bool good = dataset->Read(u, 0, dataset->frames(u), values.data()).ok() &&
                          values == source.Values(u) && *dataset->utterance_id(u) == source.Name(u);
        if (!good) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST(DatasetWriter, RefusesBadUtterancesAndGoesOn) {
  const TemporaryFolder folder;
  SmallDataset source;
  source.dtype = DType::kFloat16;
  auto writer = *DatasetWriter::Create(source.Options(folder.path("set")));
  const std::vector<float> good(16, 1.0f);
  std::vector<float> nan = good, large = good;
  nan[3] = std::nanf("");
  large[5] = 70000;
  const auto message = [&](const absl::Status& status) {
    EXPECT_TRUE(absl::IsInvalidArgument(status));
    return std::string(status.message());
  };
  EXPECT_THAT(message(writer->Add("a", 0, "train", nan)), HasSubstr("'a': a value is not finite"));
  EXPECT_THAT(message(writer->Add("a", 0, "train", large)), HasSubstr("does not fit float16"));
  EXPECT_THAT(message(writer->Add("a", 0, "train", {})), HasSubstr("has no frames"));
  EXPECT_THAT(message(writer->Add("a", 0, "train", std::vector<float>(15))),
              HasSubstr("15 values are not frames of 8"));
  EXPECT_THAT(message(writer->Add("a", 5, "train", good)), HasSubstr("speaker 5 of 5"));
  EXPECT_THAT(message(writer->Add("a", 0, "a/b", good)), HasSubstr("'a/b' is no name for a split"));
  EXPECT_THAT(message(writer->Add("", 0, "train", good)), HasSubstr("a name has 1 to"));
  EXPECT_TRUE(writer->Add("a", 0, "train", good).ok());
  EXPECT_THAT(message(writer->Add("a", 0, "train", good)), HasSubstr("a second one of this name"));
  ASSERT_TRUE(writer->Finish().ok());
  EXPECT_EQ(OpenOrDie(folder.path("set"))->size(), 1);
}

TEST(DatasetWriter, LeavesNothingWhenNotFinished) {
  const TemporaryFolder folder;
  const SmallDataset source = SeveralShards();
  {
    auto writer = *DatasetWriter::Create(source.Options(folder.path()));
    for (int64_t u = 0; u < source.utterances; ++u)
      ASSERT_TRUE(writer->Add(source.Name(u), 0, "train", source.Values(u)).ok());
    EXPECT_TRUE(std::filesystem::exists(folder.path("shard-00000.h5")));
    EXPECT_FALSE(std::filesystem::exists(folder.path("dataset.json")));
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(DatasetWriter, ReplacesOnlyWhenTold) {
  const TemporaryFolder folder;
  SeveralShards().Write(folder.path());
  const std::string before = ReadBytes(folder.path("dataset.json"));
  const SmallDataset other;
  WriterOptions options = other.Options(folder.path());
  EXPECT_TRUE(absl::IsAlreadyExists(DatasetWriter::Create(options).status()));
  EXPECT_EQ(ReadBytes(folder.path("dataset.json")), before);

  options.overwrite = true;
  auto writer = DatasetWriter::Create(options);
  ASSERT_TRUE(writer.ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(DatasetWriter::Create(options).status())) << "two writers at once";
  ASSERT_TRUE((*writer)->Add("only", 0, "train", other.Values(0)).ok());
  ASSERT_TRUE((*writer)->Finish().ok());
  EXPECT_EQ(OpenOrDie(folder.path())->size(), 1);
  EXPECT_FALSE(std::filesystem::exists(folder.path("shard-00001.h5")))
      << "shards of the old data set stay behind";
}

TEST(DatasetWriter, RefusesImpossibleOptions) {
  const TemporaryFolder folder;
  const auto create = [&](auto change) {
    WriterOptions options = SmallDataset().Options(folder.path("set"));
    change(options);
    const absl::Status status = DatasetWriter::Create(options).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status));
    return std::string(status.message());
  };
  EXPECT_THAT(create([](WriterOptions& o) {
                o.speakers = {"a", "b", "a"};
              }),
              HasSubstr("'a' is named twice"));
  EXPECT_THAT(create([](WriterOptions& o) { o.speakers = {""}; }), HasSubstr("name is empty"));
  EXPECT_THAT(create([](WriterOptions& o) { o.front_end.n_mels = 0; }), HasSubstr("0 mels"));
  EXPECT_THAT(create([](WriterOptions& o) { o.shard_mib = 0; }), HasSubstr("0 MiB"));
}

}  // namespace
}  // namespace data
