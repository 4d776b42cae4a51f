#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

namespace data {

// Utterances ready for a model, on the CPU. Beyond an utterance's length its mels are zero.
struct Batch {
  torch::Tensor mels;               // (B, T, n_mels) float32
  torch::Tensor lengths;            // (B) int64, valid frames
  torch::Tensor speakers;           // (B) int64, class index, -1 = unknown to the model
  std::vector<int64_t> utterances;  // (B) numbers in the data set
  std::vector<int64_t> starts;      // (B) first frame in the utterance
  int64_t epoch = 0;                // training: epoch and global batch in it that this is a part of
  int64_t batch = 0;                // training: see epoch; evaluation: number among the batches of all ranks
  bool padded = false;              // some length is below T
};

}  // namespace data
