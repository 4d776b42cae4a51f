#include "trainer/model/classifier.h"

#include <limits>

#include "trainer/model/masking.h"

namespace trainer::model {
namespace {

// Below this deviation (natural log of power) a mel is constant: dividing by it would only blow up rounding.
constexpr double kLeastDeviation = 1e-2;

torch::Tensor Normalise(const torch::Tensor& mels, const torch::Tensor& lengths, bool variance) {
  const auto centred = mels - MeanOverTime(mels, lengths).unsqueeze(1);
  if (!variance) return centred;
  return centred / MeanOverTime(centred.square(), lengths).sqrt().clamp_min(kLeastDeviation).unsqueeze(1);
}

}  // namespace

torch::Tensor Classifier::Embed(const torch::Tensor& mels, const torch::Tensor& lengths) {
  const auto frames = normalize_ == "none"
                          ? Encode(mels, lengths)
                          : Encode(Normalise(mels, lengths, normalize_ == "mean_variance"), lengths);
  return head_->Embed(frames.x, frames.lengths);
}

torch::Tensor Classifier::Answers(const torch::Tensor& embedding, const torch::Tensor& classes) {
  const auto logits = Logits(embedding);
  if (!copies_.defined()) return logits;
  auto hidden = copies_.to(logits.device()).unsqueeze(0);  // (1, n_speakers)
  if (classes.defined())
    hidden = hidden & hidden.squeeze(0).index_select(0, classes).logical_not().unsqueeze(1);
  return logits.masked_fill(hidden, -std::numeric_limits<float>::infinity());
}

void Classifier::Synchronise(AllReduce all_reduce) {
  const auto shared = std::make_shared<const AllReduce>(std::move(all_reduce));
  for (const auto& module : modules()) {
    if (auto* norm = module->as<BatchNorm>()) norm->Synchronise(shared);
  }
}

bool Classifier::HasSynchronisedNorms() {
  for (const auto& module : modules()) {
    if (const auto* norm = module->as<BatchNorm>(); norm != nullptr && norm->synchronised()) return true;
  }
  return false;
}

void Classifier::MakeHead(const HeadOptions& options) { head_ = std::make_unique<Head>(options, *this); }

}  // namespace trainer::model
