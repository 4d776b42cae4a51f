#pragma once

// Small data sets and folders for the tests of data/.

#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <bit>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/dataset_writer.h"
#include "data/random.h"

namespace data {

// A folder of its own that goes when the test ends.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "data-test-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
    path_ = pattern;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  std::string path(const std::string& name = "") const { return name.empty() ? path_ : path_ + "/" + name; }

 private:
  std::string path_;
};

inline std::string ReadBytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline void WriteBytes(const std::string& path, const std::string& bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << bytes;
  if (!file.flush()) throw std::runtime_error("cannot write " + path);
}

inline bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](float x, float y) {
           return std::bit_cast<uint32_t>(x) == std::bit_cast<uint32_t>(y);
         });
}

struct SmallDataset {
  int n_mels = 8;
  DType dtype = DType::kFloat32;
  int64_t utterances = 60;
  int64_t speakers = 5;
  int64_t min_frames = 5;
  int64_t max_frames = 40;
  int64_t shard_mib = 1;
  uint64_t seed = 7;

  int64_t Frames(int64_t u) const {
    RandomStream random(seed, Purpose::kFirstFree, 1, static_cast<uint64_t>(u));
    return min_frames +
           static_cast<int64_t>(random.Below(static_cast<uint64_t>(max_frames - min_frames + 1)));
  }
  // Multiples of 1/64 below 16 in size: exact in float16.
  std::vector<float> Values(int64_t u) const {
    RandomStream random(seed, Purpose::kFirstFree, 2, static_cast<uint64_t>(u));
    std::vector<float> values(static_cast<size_t>(Frames(u) * n_mels));
    for (float& value : values)
      value = static_cast<float>(static_cast<int64_t>(random.Below(2047)) - 1023) / 64;
    return values;
  }
  // Every seventh is unlabelled, in split "test"; of the others every fourth is in "valid".
  int32_t Speaker(int64_t u) const { return u % 7 == 6 ? -1 : static_cast<int32_t>(u % speakers); }
  std::string Split(int64_t u) const { return Speaker(u) < 0 ? "test" : u % 4 == 3 ? "valid" : "train"; }
  std::string Name(int64_t u) const { return "folder/utterance-" + std::to_string(u * u) + ".wav"; }

  WriterOptions Options(const std::string& folder) const {
    WriterOptions options{
        .folder = folder, .front_end = {}, .dtype = dtype, .shard_mib = shard_mib, .speakers = {}};
    options.front_end.source = "synth";
    options.front_end.n_mels = n_mels;
    for (int64_t s = 0; s < speakers; ++s) options.speakers.push_back("speaker " + std::to_string(s));
    return options;
  }

  void Write(const std::string& folder) const {
    auto writer = DatasetWriter::Create(Options(folder));
    ASSERT_TRUE(writer.ok()) << writer.status();
    for (int64_t u = 0; u < utterances; ++u) {
      const absl::Status status = (*writer)->Add(Name(u), Speaker(u), Split(u), Values(u));
      ASSERT_TRUE(status.ok()) << status;
    }
    const absl::Status status = (*writer)->Finish();
    ASSERT_TRUE(status.ok()) << status;
  }
};

// Enough frames for several shards of 1 MiB.
inline SmallDataset SeveralShards() {
  return {.n_mels = 40, .utterances = 64, .min_frames = 100, .max_frames = 700};
}

inline std::shared_ptr<const Dataset> OpenOrDie(const std::string& folder) {
  auto dataset = Dataset::Open(folder);
  if (!dataset.ok()) throw std::runtime_error(std::string(dataset.status().message()));
  return *dataset;
}

}  // namespace data
