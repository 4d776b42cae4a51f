#include "data/audio_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "audio_fixtures.h"
#include "data/log_mel.h"

namespace data {
namespace {

using ::testing::HasSubstr;

struct Format {
  const char* extension;
  int format;
};
constexpr Format kFormats[] = {{".flac", testing::kFlac},
                               {".wav", testing::kWav},
                               {".WAV", testing::kFloatWav},
                               {".ogg", testing::kOgg},
                               {".mp3", testing::kMp3}};

void ExpectError(const std::string& path, absl::StatusCode code, const std::string& message) {
  const auto audio = ReadAudio(path, 16000);
  ASSERT_FALSE(audio.ok()) << path;
  EXPECT_EQ(audio.status().code(), code) << audio.status();
  EXPECT_THAT(std::string(audio.status().message()), HasSubstr(message));
}

class EveryFormat : public ::testing::TestWithParam<Format> {
 protected:
  testing::TempFolder folder_;
  std::string path_ = folder_.File(std::string("tone") + GetParam().extension);
};

TEST_P(EveryFormat, EveryRateAndChannelCountGivesTheSameTone) {
  const auto log_mel = LogMel::Create(40);
  ASSERT_TRUE(log_mel.ok());
  constexpr double kHz = 1138.6;  // the centre of filter 14
  constexpr size_t kFilter = 14;
  for (const int rate : {8000, 16000, 22050, 44100, 48000}) {
    for (const std::vector<float>& gains : {std::vector<float>{1.0F}, {1.2F, 0.8F}}) {
      testing::WriteAudio(path_, GetParam().format, rate, testing::Tone(kHz, 1.0, rate), gains);
      const auto audio = ReadAudio(path_, 16000);
      ASSERT_TRUE(audio.ok()) << path_ << " " << rate << ": " << audio.status();
      EXPECT_NEAR(audio->seconds, 1.0, GetParam().format == testing::kMp3 ? 0.15 : 1e-6) << rate;
      EXPECT_NEAR(static_cast<double>(audio->samples.size()), audio->seconds * 16000, 1.5) << rate;
      float peak = 0;  // away from the ends
      for (size_t i = 4000; i < 12000; ++i) peak = std::max(peak, std::abs(audio->samples[i]));
      EXPECT_NEAR(peak, 0.5, 0.05) << rate;
      std::vector<float> frames;
      ASSERT_TRUE(log_mel->Compute(audio->samples, frames).ok());
      for (size_t t = 20; t < 80; ++t) {
        const float* frame = frames.data() + t * 40;
        ASSERT_EQ(std::max_element(frame, frame + 40) - frame, kFilter) << rate << " frame " << t;
      }
    }
  }
}

// Whatever is cut off: never a crash, and never a file that passes for whole (mp3 has no record of its
// length).
TEST_P(EveryFormat, TruncatedFilesAreRefused) {
  testing::WriteAudio(path_, GetParam().format, 16000, testing::Noise(1.0, 16000, 3), {1.0F, 1.0F});
  const std::string whole = testing::ReadBytes(path_);
  for (const double share : {0.001, 0.01, 0.05, 0.2, 0.5, 0.8, 0.95, 0.999}) {
    testing::WriteBytes(path_,
                        whole.substr(0, static_cast<size_t>(share * static_cast<double>(whole.size()))));
    const auto audio = ReadAudio(path_, 16000);
    ASSERT_FALSE(audio.ok()) << share;
    EXPECT_FALSE(audio.status().message().empty());
  }
}

TEST_P(EveryFormat, DamagedBytesNeverCrash) {
  testing::WriteAudio(path_, GetParam().format, 16000, testing::Noise(0.5, 16000, 4));
  const std::string whole = testing::ReadBytes(path_);
  std::mt19937 generator(17);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(4);
  int refused = 0;
  for (int round = 0; round < 300 && std::chrono::steady_clock::now() < deadline; ++round) {
    std::string bytes = whole;
    // Half of the rounds aim at the header, where the dangerous numbers are.
    const size_t reach = round % 2 == 0 ? std::min<size_t>(bytes.size(), 128) : bytes.size();
    for (uint32_t flips = 1 + generator() % 8; flips > 0; --flips) {
      bytes[generator() % reach] = static_cast<char>(generator());
    }
    testing::WriteBytes(path_, bytes);
    const auto audio = ReadAudio(path_, 16000);
    if (audio.ok()) {
      for (const float sample : audio->samples) ASSERT_TRUE(std::isfinite(sample));
    } else {
      ++refused;
      EXPECT_FALSE(audio.status().message().empty());
      EXPECT_EQ(audio.status().message().find('\n'), std::string::npos) << audio.status();
    }
  }
  EXPECT_GT(refused, 0);
}

INSTANTIATE_TEST_SUITE_P(Audio, EveryFormat, ::testing::ValuesIn(kFormats), [](const auto& param) {
  std::string name = param.param.extension + 1;
  return name == "WAV" ? std::string("float_wav") : name;
});

TEST(ReadAudio, IntegerSamplesAreExact) {
  const testing::TempFolder folder;
  std::vector<float> samples;
  for (int value = -32768; value < 32768; value += 3) samples.push_back(static_cast<float>(value) / 32768.0F);
  for (const auto& [extension, format] :
       {Format{".flac", testing::kFlac}, Format{".wav", testing::kFloatWav}}) {
    const std::string path = folder.File(std::string("ramp") + extension);
    testing::WriteAudio(path, format, 16000, samples);
    const auto audio = ReadAudio(path, 16000);
    ASSERT_TRUE(audio.ok()) << audio.status();
    if (format == testing::kFloatWav) {
      EXPECT_EQ(audio->samples, samples);
    } else {  // libsndfile scales by 32767 when it writes
      ASSERT_EQ(audio->samples.size(), samples.size());
      for (size_t i = 0; i < samples.size(); ++i) ASSERT_NEAR(audio->samples[i], samples[i], 1.01 / 32768);
    }
  }
}

TEST(ReadAudio, ChannelsAreAveraged) {
  const testing::TempFolder folder;
  const std::string path = folder.File("six.wav");
  const std::vector<float> samples = testing::Tone(440, 0.1, 16000);
  testing::WriteAudio(path, testing::kFloatWav, 16000, samples, {1, -1, 0.5, 0, 0.25, 0.25});
  const auto audio = ReadAudio(path, 16000);
  ASSERT_TRUE(audio.ok()) << audio.status();
  for (size_t i = 0; i < samples.size(); ++i) ASSERT_NEAR(audio->samples[i], samples[i] / 6, 1e-6);
}

TEST(ReadAudio, ManyThreadsManyFiles) {
  const testing::TempFolder folder;
  for (int i = 0; i < 8; ++i) {
    testing::WriteAudio(folder.File(std::to_string(i) + ".flac"), testing::kFlac, 8000,
                        testing::Tone(100, 0.5 + 0.1 * i, 8000));
  }
  testing::WriteBytes(folder.File("bad.wav"), std::string(5000, 'x'));
  std::vector<std::jthread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int round = 0; round < 40; ++round) {
        const int i = (t + round) % 9;
        if (i == 8) {
          ExpectError(folder.path() + "/bad.wav", absl::StatusCode::kInvalidArgument, "not recognised");
        } else {
          const auto audio = ReadAudio(folder.path() + "/" + std::to_string(i) + ".flac", 16000);
          ASSERT_TRUE(audio.ok()) << audio.status();
          ASSERT_NEAR(audio->seconds, 0.5 + 0.1 * i, 1e-9);
        }
      }
    });
  }
}

TEST(ReadAudio, SaysWhatIsWrong) {
  const testing::TempFolder folder;
  ExpectError(folder.path() + "/none.wav", absl::StatusCode::kNotFound, "no such file");
  ExpectError(folder.path(), absl::StatusCode::kInvalidArgument, "is not a file");
  testing::WriteBytes(folder.File("empty.flac"), "");
  ExpectError(folder.File("empty.flac"), absl::StatusCode::kInvalidArgument, "empty (0 bytes)");
  testing::WriteBytes(folder.File("text.mp3"), "This is no music.\n");
  ExpectError(folder.File("text.mp3"), absl::StatusCode::kInvalidArgument, "cannot be opened");
  testing::WriteAudio(folder.File("none.wav"), testing::kWav, 16000, {});
  ExpectError(folder.File("none.wav"), absl::StatusCode::kInvalidArgument, "no samples");
  testing::WriteAudio(folder.File("slow.wav"), testing::kWav, 100, testing::Noise(10, 100, 1));
  ExpectError(folder.File("slow.wav"), absl::StatusCode::kInvalidArgument, "sample rate of 100 Hz");
  testing::WriteAudio(folder.File("au.wav"), SF_FORMAT_AU | SF_FORMAT_PCM_16, 16000,
                      testing::Noise(1, 16000, 1));
  ExpectError(folder.File("au.wav"), absl::StatusCode::kInvalidArgument, "unsupported kind");
}

TEST(ReadAudio, FloatingPointOutsideItsRange) {
  const testing::TempFolder folder;
  std::vector<float> samples = testing::Noise(1, 16000, 5);
  samples[777] = std::numeric_limits<float>::quiet_NaN();
  testing::WriteAudio(folder.File("nan.wav"), testing::kFloatWav, 16000, samples);
  ExpectError(folder.File("nan.wav"), absl::StatusCode::kDataLoss, "sample 777");
  samples[777] = std::numeric_limits<float>::infinity();
  testing::WriteAudio(folder.File("inf.wav"), testing::kFloatWav, 22050, samples);
  ExpectError(folder.File("inf.wav"), absl::StatusCode::kDataLoss, "sample 777");
  samples[777] = -8.5F;
  testing::WriteAudio(folder.File("loud.wav"), testing::kFloatWav, 16000, samples);
  ExpectError(folder.File("loud.wav"), absl::StatusCode::kInvalidArgument,
              "holds -8.5 at sample 777, but float audio must be within [-1, 1]");
}

TEST(ReadAudio, OvershootIsTakenAsItIs) {
  const testing::TempFolder folder;
  std::vector<float> samples = testing::Noise(1, 16000, 5);
  samples[777] = -1.25F;
  samples[778] = 8.0F;
  testing::WriteAudio(folder.File("loud.wav"), testing::kFloatWav, 16000, samples);
  const auto exact = ReadAudio(folder.File("loud.wav"), 16000);
  ASSERT_TRUE(exact.ok()) << exact.status();
  EXPECT_EQ(exact->samples, samples);

  // A square wave at full scale: what lossy coding leaves of it swings beyond.
  for (size_t i = 0; i < samples.size(); ++i) samples[i] = i / 40 % 2 == 0 ? 1.0F : -1.0F;
  for (const auto& [extension, format] : {Format{".ogg", testing::kOgg}, Format{".mp3", testing::kMp3}}) {
    const std::string path = folder.File(std::string("square") + extension);
    testing::WriteAudio(path, format, 16000, samples);
    const auto audio = ReadAudio(path, 16000);
    ASSERT_TRUE(audio.ok()) << extension << ": " << audio.status();
    EXPECT_GT(*std::max_element(audio->samples.begin(), audio->samples.end()), 1.01F) << extension;
  }
}

// The byte that makes an odd chunk even may be missing at the end of the file; a byte of sound may not.
TEST(ReadAudio, AMissingPadByteIsNoTruncation) {
  const testing::TempFolder folder;
  const std::string path = folder.File("odd.wav");
  testing::WriteAudio(path, SF_FORMAT_WAV | SF_FORMAT_PCM_U8, 16000,
                      testing::Noise(1001.0 / 16000, 16000, 7));
  std::string bytes = testing::ReadBytes(path);
  ASSERT_EQ(bytes.size(), 44U + 1001 + 1);
  const auto whole = ReadAudio(path, 16000);
  ASSERT_TRUE(whole.ok()) << whole.status();
  ASSERT_EQ(whole->samples.size(), 1001U);
  bytes.pop_back();
  testing::WriteBytes(path, bytes);
  const auto unpadded = ReadAudio(path, 16000);
  ASSERT_TRUE(unpadded.ok()) << unpadded.status();
  EXPECT_EQ(unpadded->samples, whole->samples);
  bytes.pop_back();
  testing::WriteBytes(path, bytes);
  ExpectError(path, absl::StatusCode::kDataLoss, "is truncated: 1044 bytes of the 1046");

  const std::string even = folder.File("even.wav");
  testing::WriteAudio(even, testing::kWav, 16000, testing::Noise(0.5, 16000, 7));
  bytes = testing::ReadBytes(even);
  testing::WriteBytes(even, bytes.substr(0, bytes.size() - 1));
  ExpectError(even, absl::StatusCode::kDataLoss, "is truncated");
}

// A FLAC header that promises 2^36 - 1 samples: an error, and no memory to match.
TEST(ReadAudio, HeadersCannotTakeMemory) {
  const testing::TempFolder folder;
  const std::string path = folder.File("huge.flac");
  testing::WriteAudio(path, testing::kFlac, 16000, testing::Noise(0.5, 16000, 6));
  std::string bytes = testing::ReadBytes(path);
  // STREAMINFO's 36-bit sample count ends at byte 26 of the file.
  bytes[21] = static_cast<char>(bytes[21] | 0x0f);
  for (size_t i = 22; i < 26; ++i) bytes[i] = static_cast<char>(0xff);
  testing::WriteBytes(path, bytes);
  rusage before{}, after{};
  getrusage(RUSAGE_SELF, &before);
  ExpectError(path, absl::StatusCode::kDataLoss, "");
  getrusage(RUSAGE_SELF, &after);
  EXPECT_LT(after.ru_maxrss - before.ru_maxrss, 64 * 1024);  // KiB
}

TEST(ReadAudio, RecordingsBeyondTheLimit) {
  const testing::TempFolder folder;
  const std::string path = folder.File("long.flac");
  testing::WriteAudio(path, testing::kFlac, 4000, std::vector<float>(4000 * 3605, 0.0F));
  ExpectError(path, absl::StatusCode::kInvalidArgument, "longer than 60 minutes");
}

TEST(HasAudioExtension, IgnoresCase) {
  for (const char* name : {"a.flac", "a.WAV", "dir/b.Ogg", "c.d.mp3"})
    EXPECT_TRUE(HasAudioExtension(name)) << name;
  for (const char* name : {"a.txt", "wav", "a.flac.bak", "dir.wav/b", ".mp3"}) {
    EXPECT_FALSE(HasAudioExtension(name)) << name;
  }
}

}  // namespace
}  // namespace data
