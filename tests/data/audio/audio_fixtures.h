// Recordings made in the test, so that what they hold is known.
#pragma once

#include <sndfile.h>
#include <unistd.h>

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <numbers>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

namespace data::testing {

// A folder of its own, removed with all it holds.
class TempFolder {
 public:
  TempFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "audio-test-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp " + pattern);
    path_ = pattern;
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  // Where a file may be put; folders on the way are made.
  std::string File(const std::string& name) const {
    const std::filesystem::path path = path_ / name;
    std::filesystem::create_directories(path.parent_path());
    return path.string();
  }
  std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

inline std::vector<float> Tone(double hz, double seconds, int rate, float amplitude = 0.5F) {
  std::vector<float> samples(static_cast<size_t>(std::llround(seconds * rate)));
  for (size_t i = 0; i < samples.size(); ++i) {
    samples[i] =
        amplitude * static_cast<float>(std::sin(2 * std::numbers::pi * hz * static_cast<double>(i) / rate));
  }
  return samples;
}

inline std::vector<float> Noise(double seconds, int rate, uint32_t seed, float amplitude = 0.3F) {
  std::mt19937 generator(seed);
  std::uniform_real_distribution<float> uniform(-amplitude, amplitude);
  std::vector<float> samples(static_cast<size_t>(std::llround(seconds * rate)));
  for (float& sample : samples) sample = uniform(generator);
  return samples;
}

inline constexpr int kFlac = SF_FORMAT_FLAC | SF_FORMAT_PCM_16;
inline constexpr int kWav = SF_FORMAT_WAV | SF_FORMAT_PCM_16;
inline constexpr int kFloatWav = SF_FORMAT_WAV | SF_FORMAT_FLOAT;
inline constexpr int kOgg = SF_FORMAT_OGG | SF_FORMAT_VORBIS;
inline constexpr int kMp3 = SF_FORMAT_MPEG | SF_FORMAT_MPEG_LAYER_III;

// Writes the same samples to every channel, channel c scaled by gains[c].
inline void WriteAudio(const std::string& path, int format, int rate, const std::vector<float>& samples,
                       const std::vector<float>& gains = {1.0F}) {
  const auto channels = static_cast<int>(gains.size());
  SF_INFO info{};
  info.samplerate = rate;
  info.channels = channels;
  info.format = format;
  SNDFILE* file = sf_open(path.c_str(), SFM_WRITE, &info);
  if (file == nullptr) throw std::runtime_error(path + ": " + sf_strerror(nullptr));
  std::vector<float> interleaved;
  for (const float sample : samples) {
    for (const float gain : gains) interleaved.push_back(sample * gain);
  }
  // In blocks: libvorbis takes its stack space in proportion to what it is handed at once.
  const auto frames = static_cast<sf_count_t>(samples.size());
  for (sf_count_t at = 0; at < frames; at += 4096) {
    const sf_count_t count = std::min<sf_count_t>(4096, frames - at);
    if (sf_writef_float(file, interleaved.data() + at * channels, count) != count) {
      throw std::runtime_error(path + ": " + sf_strerror(file));
    }
  }
  sf_close(file);
}

inline std::string ReadBytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

inline void WriteBytes(const std::string& path, const std::string& bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (!file.flush()) throw std::runtime_error("cannot write " + path);
}

}  // namespace data::testing
