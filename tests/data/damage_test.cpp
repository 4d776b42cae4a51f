// Whatever happens to the files of a data set: an error that names the file, never a crash, never wrong
// values.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "tests/data/dataset_fixtures.h"

namespace data {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string Message(const absl::Status& status) { return std::string(status.message()); }

class DamageTest : public ::testing::Test {
 protected:
  void SetUp() override {
    source_.Write(folder_.path());
    shard_ = ReadBytes(shard_path_);
    manifest_ = ReadBytes(manifest_path_);
    info_ = OpenOrDie(folder_.path())->manifest().shards[0];
    frame_bytes_ = info_.frames * source_.n_mels * 4;
  }

  // Opens and reads everything there is to read.
  absl::Status UseAll() const {
    const auto dataset = Dataset::Open(folder_.path());
    if (!dataset.ok()) return dataset.status();
    for (int64_t u = 0; u < (*dataset)->size(); ++u) {
      std::vector<float> values(static_cast<size_t>((*dataset)->frames(u) * (*dataset)->n_mels()));
      if (auto status = (*dataset)->Read(u, 0, (*dataset)->frames(u), values.data()); !status.ok())
        return status;
      if (auto name = (*dataset)->utterance_id(u); !name.ok()) return name.status();
    }
    return absl::OkStatus();
  }

  const TemporaryFolder folder_;
  const SmallDataset source_;
  const std::string shard_path_ = folder_.path("shard-00000.h5");
  const std::string manifest_path_ = folder_.path("dataset.json");
  std::string shard_, manifest_;
  ShardInfo info_;
  int64_t frame_bytes_ = 0;
};

TEST_F(DamageTest, AShardCutAnywhereIsNamed) {
  RandomStream random(1, Purpose::kFirstFree, 0, 0);
  for (int i = 0; i < 200; ++i) {
    const size_t size = i < 20 ? static_cast<size_t>(i) : random.Below(shard_.size());
    WriteBytes(shard_path_, shard_.substr(0, size));
    const absl::Status status = UseAll();
    ASSERT_TRUE(absl::IsDataLoss(status)) << size << ' ' << status;
    EXPECT_THAT(Message(status), AllOf(HasSubstr(shard_path_), HasSubstr("truncated")));
  }
}

TEST_F(DamageTest, AShardCutWhileOpenIsNamed) {
  const auto dataset = OpenOrDie(folder_.path());
  ASSERT_EQ(truncate(shard_path_.c_str(), info_.frames_offset + 10), 0);
  float values[8 * 64];
  const absl::Status status = dataset->Read(5, 0, dataset->frames(5), values);
  EXPECT_TRUE(absl::IsDataLoss(status));
  EXPECT_THAT(Message(status), AllOf(HasSubstr(shard_path_), HasSubstr("truncated")));
}

TEST_F(DamageTest, AShardChangedWhileOpenIsNoLongerBelieved) {
  const auto dataset = OpenOrDie(folder_.path());
  std::vector<float> before(static_cast<size_t>(dataset->frames(0) * dataset->n_mels())), after = before;
  const auto read = [&](int64_t u, std::vector<float>* values) {
    values->resize(static_cast<size_t>(2 * dataset->n_mels()));
    return dataset->Read(u, 1, 2, values->data());
  };
  // The clock that stamps files ticks every few milliseconds.
  const auto overwrite = [&](int64_t place, char byte) {
    usleep(20'000);
    const UniqueFd fd(open(shard_path_.c_str(), O_WRONLY | O_CLOEXEC));
    ASSERT_TRUE(PwriteAll(fd.get(), &byte, 1, place, shard_path_).ok());
  };
  ASSERT_TRUE(read(0, &before).ok());

  overwrite(info_.frames_offset, shard_[static_cast<size_t>(info_.frames_offset)]);  // as it was
  ASSERT_TRUE(read(0, &after).ok());
  EXPECT_TRUE(SameBits(before, after));

  // The lowest bit of a number outside the crop.
  overwrite(info_.frames_offset, static_cast<char>(shard_[static_cast<size_t>(info_.frames_offset)] ^ 1));
  absl::Status status = read(0, &after);
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(Message(status), AllOf(HasSubstr(shard_path_), HasSubstr(*dataset->utterance_id(0)),
                                     HasSubstr("checksum of its frames"), HasSubstr("restore")));
  EXPECT_TRUE(read(1, &after).ok());

  overwrite(8, '!');
  for (int attempt = 0; attempt < 2; ++attempt) {
    status = read(1, &after);
    EXPECT_TRUE(absl::IsDataLoss(status)) << status;
    EXPECT_THAT(Message(status), AllOf(HasSubstr(shard_path_), HasSubstr("header"), HasSubstr("restore")));
  }
}

TEST_F(DamageTest, AnyFlippedBitOutsideTheFramesIsFound) {
  RandomStream random(2, Purpose::kFirstFree, 0, 0);
  const size_t frames_begin = static_cast<size_t>(info_.frames_offset);
  const size_t frames_end = frames_begin + static_cast<size_t>(frame_bytes_);
  const size_t outside = shard_.size() - static_cast<size_t>(frame_bytes_);
  for (int i = 0; i < 1500; ++i) {
    size_t place = random.Below(outside);
    if (place >= frames_begin) place += frames_end - frames_begin;
    std::string bytes = shard_;
    bytes[place] = static_cast<char>(bytes[place] ^ (1 << random.Below(8)));
    WriteBytes(shard_path_, bytes);
    const absl::Status status = Dataset::Open(folder_.path()).status();
    ASSERT_FALSE(status.ok()) << place;
    EXPECT_THAT(Message(status), HasSubstr(shard_path_));
  }
}

TEST_F(DamageTest, DamagedManifestsNeverCrash) {
  RandomStream random(3, Purpose::kFirstFree, 0, 0);
  int refused = 0;
  for (int i = 0; i < 1500; ++i) {
    std::string bytes = manifest_;
    switch (random.Below(3)) {
      case 0:
        bytes[random.Below(bytes.size())] ^= static_cast<char>(1 << random.Below(8));
        break;
      case 1:
        bytes.resize(random.Below(bytes.size()));
        break;
      default: {  // another digit
        size_t place = random.Below(bytes.size());
        while (bytes[place] < '0' || bytes[place] > '9') place = (place + 1) % bytes.size();
        bytes[place] = static_cast<char>('0' + random.Below(10));
      }
    }
    WriteBytes(manifest_path_, bytes);
    const absl::Status status = UseAll();
    if (!status.ok()) {
      ++refused;
      EXPECT_FALSE(status.message().empty());
      EXPECT_THAT(Message(status), HasSubstr(folder_.path()));
    }
  }
  EXPECT_GT(refused, 800);
}

TEST_F(DamageTest, ManifestsWithWrongFieldsAreRefusedByName) {
  const auto replaced = [&](const std::string& from, const std::string& to) {
    std::string text = manifest_;
    const size_t place = text.find(from);
    if (place == std::string::npos) throw std::runtime_error("no " + from);
    WriteBytes(manifest_path_, text.replace(place, from.size(), to));
    const absl::Status status = UseAll();
    EXPECT_FALSE(status.ok());
    EXPECT_THAT(Message(status), HasSubstr(manifest_path_));
    return Message(status);
  };
  EXPECT_THAT(replaced("\"schema_version\": 1", "\"schema_version\": 2"),
              HasSubstr("schema version 2, this program reads 1"));
  EXPECT_THAT(replaced("mel-dataset", "mel-database"), HasSubstr("'format'"));
  EXPECT_THAT(replaced("\"float32\"", "\"float64\""), HasSubstr("float64"));
  EXPECT_THAT(replaced("\"n_mels\": 8", "\"n_mels\": 9"), HasSubstr("'n_mels'"));
  EXPECT_THAT(replaced("speaker 1", "speaker 0"), HasSubstr("'speaker 0' twice"));
  EXPECT_THAT(replaced("\"file\":\"shard", "\"file\":\"../shard"), HasSubstr("'file' is not shard-00000.h5"));
  EXPECT_THAT(replaced("\"train\":[[0,", "\"train\":[[-1,"), HasSubstr("splits.train"));
  EXPECT_THAT(replaced("\"train\":[[0,", "\"train\":[[9000000000000000000,"), HasSubstr("splits.train"));
  EXPECT_THAT(replaced("\"utterances\": 60", "\"utterances\": 61"), HasSubstr("not the sum"));
  EXPECT_THAT(replaced("\"frames_offset\":", "\"frames_offset\":99"),
              HasSubstr("shards[0]: 'frames_offset'"));
  EXPECT_THAT(replaced("\"hop\":160", "\"hop\":\"160\""), HasSubstr("'hop' is not an integer"));
}

TEST_F(DamageTest, AValueThatIsNotFiniteIsNamed) {
  for (const uint32_t bits : {0x7FC00000u, 0x7F800000u, 0xFF800000u}) {
    const auto dataset = OpenOrDie(folder_.path());
    int64_t frames_before = 0;
    for (int64_t u = 0; u < 17; ++u) frames_before += source_.Frames(u);
    std::string bytes = shard_;
    std::memcpy(bytes.data() + info_.frames_offset + (frames_before * 8 + 11) * 4, &bits, 4);
    WriteBytes(shard_path_, bytes);
    float values[8 * 64];
    const auto damaged = OpenOrDie(folder_.path());
    EXPECT_TRUE(damaged->Read(16, 0, damaged->frames(16), values).ok());
    EXPECT_TRUE(damaged->Read(17, 0, 1, values).ok()) << "only the crop that is read matters";
    const absl::Status status = damaged->Read(17, 0, 2, values);
    EXPECT_TRUE(absl::IsDataLoss(status));
    EXPECT_THAT(Message(status), AllOf(HasSubstr(shard_path_), HasSubstr("'" + source_.Name(17) + "'"),
                                       HasSubstr("not finite")));
  }
}

TEST_F(DamageTest, AShardOfAnotherDataSetIsNamed) {
  const TemporaryFolder other;
  SmallDataset wide = source_;
  wide.n_mels = 16;
  wide.Write(other.path());
  std::filesystem::copy_file(other.path("shard-00000.h5"), shard_path_,
                             std::filesystem::copy_options::overwrite_existing);
  absl::Status status = Dataset::Open(folder_.path()).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_THAT(Message(status),
              AllOf(HasSubstr(shard_path_), HasSubstr("its n_mels is 16, dataset.json says 8")));

  SmallDataset like = source_;
  like.speakers = 4;  // same names, lengths and sizes, other labels
  like.Write(folder_.path("like"));
  std::filesystem::copy_file(folder_.path("like/shard-00000.h5"), shard_path_,
                             std::filesystem::copy_options::overwrite_existing);
  status = Dataset::Open(folder_.path()).status();
  EXPECT_TRUE(absl::IsDataLoss(status));
  EXPECT_THAT(Message(status), AllOf(HasSubstr(shard_path_), HasSubstr("checksum")));
}

TEST_F(DamageTest, MissingFilesAreNamed) {
  std::filesystem::remove(shard_path_);
  absl::Status status = Dataset::Open(folder_.path()).status();
  EXPECT_TRUE(absl::IsNotFound(status));
  EXPECT_THAT(Message(status), AllOf(HasSubstr(shard_path_), HasSubstr("missing")));
  std::filesystem::remove(manifest_path_);
  status = Dataset::Open(folder_.path()).status();
  EXPECT_TRUE(absl::IsNotFound(status));
  EXPECT_THAT(Message(status), AllOf(HasSubstr(folder_.path()), HasSubstr("has no dataset.json")));
  status = Dataset::Open(folder_.path("nowhere")).status();
  EXPECT_TRUE(absl::IsNotFound(status));
  EXPECT_THAT(Message(status), HasSubstr("no such folder"));
}

TEST(FullDisk, IsNamedAndLeavesNothing) {
  const TemporaryFolder folder;
  if (mount("tmpfs", folder.path().c_str(), "tmpfs", 0, "size=3m") != 0) {
    GTEST_SKIP() << "cannot mount a small tmpfs here: " << std::strerror(errno);
  }
  {
    const SmallDataset source = {.n_mels = 40, .utterances = 100, .min_frames = 300, .max_frames = 700};
    auto writer = DatasetWriter::Create(source.Options(folder.path("set")));
    ASSERT_TRUE(writer.ok()) << writer.status();
    absl::Status status;
    for (int64_t u = 0; u < source.utterances && status.ok(); ++u) {
      status = (*writer)->Add(source.Name(u), 0, "train", source.Values(u));
    }
    EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
    EXPECT_THAT(Message(status),
                AllOf(HasSubstr(folder.path("set")), HasSubstr("No space left"), HasSubstr("free space")));
    EXPECT_EQ(Message(status).find('\n'), std::string::npos);
    EXPECT_TRUE(std::filesystem::exists(folder.path("set/shard-00000.h5")))
        << "it was to fill up later than this";
    writer->reset();
    EXPECT_TRUE(std::filesystem::is_empty(folder.path("set")));
  }
  EXPECT_EQ(umount(folder.path().c_str()), 0);
}

}  // namespace
}  // namespace data
