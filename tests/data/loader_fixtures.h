#pragma once

// A small data set, loaders of it, and what they hand out.

#include <gtest/gtest.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "data/loader.h"
#include "tests/data/dataset_fixtures.h"

namespace data {

inline constexpr uint64_t kSeed = 11;

// What a rank consumes, copied out of the loader's buffers.
struct Consumed {
  std::vector<int64_t> utterances, starts, lengths, speakers;
  std::vector<float> mels;
  int64_t epoch, batch, frames;
  bool padded;
  bool operator==(const Consumed&) const = default;
};

inline Consumed Copy(const Batch& batch) {
  const auto ints = [](const torch::Tensor& t) {
    return std::vector<int64_t>(t.data_ptr<int64_t>(), t.data_ptr<int64_t>() + t.numel());
  };
  const float* mels = batch.mels.data_ptr<float>();
  return {batch.utterances,
          batch.starts,
          ints(batch.lengths),
          ints(batch.speakers),
          std::vector<float>(mels, mels + batch.mels.numel()),
          batch.epoch,
          batch.batch,
          batch.mels.size(1),
          batch.padded};
}

inline std::vector<Consumed> Take(TrainLoader& loader, int64_t count) {
  std::vector<Consumed> taken;
  for (int64_t i = 0; i < count; ++i) {
    const auto batch = loader.Next();
    if (!batch.ok()) throw std::runtime_error(std::string(batch.status().message()));
    taken.push_back(Copy(**batch));
  }
  return taken;
}

class LoaderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    source_.utterances = 61;
    source_.Write(folder_.path());
    dataset_ = OpenOrDie(folder_.path());
    for (int64_t u = 0; u < source_.utterances; ++u) {
      if (source_.Speaker(u) >= 0) labelled_.push_back(u);
    }
  }

  TrainLoader::Options Options(int rank = 0, int world_size = 1, int64_t accumulate = 1) const {
    TrainLoader::Options options;
    options.crop_frames = 16;  // some utterances are shorter
    options.rank = rank;
    options.world_size = world_size;
    options.accumulate = accumulate;
    options.seed = kSeed;
    return options;
  }
  Sampler MakeSampler() const { return Sampler(labelled_, kSeed, 12); }

  const TemporaryFolder folder_;
  SmallDataset source_;
  std::shared_ptr<const Dataset> dataset_;
  std::vector<int64_t> labelled_;
};

}  // namespace data
