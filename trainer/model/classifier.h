// The interface every model has: log-mels in, a speaker embedding and one logit a speaker out.
#pragma once

#include <torch/torch.h>

#include <memory>

#include "trainer/model/head.h"
#include "trainer/model/norm.h"

namespace trainer::model {

// What an encoder makes of mels.
struct Frames {
  torch::Tensor x;        // (B, T', D)
  torch::Tensor lengths;  // (B) int64, or undefined where every utterance has T' frames
};

// A speaker classifier: normalise -> encode -> pool -> embed -> classify. Not thread-safe; parameters live on
// the device that `to()` put them on.
//
// Shapes, for all methods:
//   mels       (B, T, n_mels) float32; frames at and beyond an utterance's length may hold anything finite
//   lengths    (B) int64, 1 <= length <= T; undefined where every utterance has T frames
//   embedding  (B, E) float32: the input of the last layer
//   logits     (B, n_speakers) float32, without any margin
// An utterance's embedding and logits do not depend on its batch-mates or on padding, save for rounding; in
// training, batch norm makes them depend on the batch, and with `compat: reference` padding counts.
class Classifier : public torch::nn::Module {
 public:
  // `normalize`: none | mean | mean_variance, of each mel over an utterance's frames.
  explicit Classifier(std::string normalize) : normalize_(std::move(normalize)) {}

  torch::Tensor Embed(const torch::Tensor& mels, const torch::Tensor& lengths);
  torch::Tensor Logits(const torch::Tensor& embedding) { return head_->Logits(embedding); }
  // The logits as answers: those of copies are -inf, but in rows whose right class, in `classes` (B) int64,
  // is a copy itself.
  torch::Tensor Answers(const torch::Tensor& embedding, const torch::Tensor& classes = {});

  // Classes that exist for training alone, such as copies of speakers at other speeds: (n_speakers) bool;
  // undefined, the default: none.
  void SetCopies(torch::Tensor copies) { copies_ = std::move(copies); }

  torch::Tensor Forward(const torch::Tensor& mels, const torch::Tensor& lengths) {
    return Logits(Embed(mels, lengths));
  }

  // From now on the batch norms of kind `sync_batch` take their statistics over all ranks with `all_reduce`,
  // which must work in forward and in backward. Every rank must then make the same calls of Forward and
  // backward.
  void Synchronise(AllReduce all_reduce);

  // Whether a Forward in training mode communicates, once Synchronise was called.
  bool HasSynchronisedNorms();

  virtual int64_t n_mels() const = 0;

 protected:
  // From normalised mels to frames; their lengths may have shrunk with T'.
  virtual Frames Encode(const torch::Tensor& mels, const torch::Tensor& lengths) = 0;

  // Registers what follows the encoder. For the end of a constructor: it draws initial values.
  void MakeHead(const HeadOptions& options);

 private:
  std::string normalize_;
  std::unique_ptr<Head> head_;
  torch::Tensor copies_;
};

}  // namespace trainer::model
