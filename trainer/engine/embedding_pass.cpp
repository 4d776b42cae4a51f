#include "trainer/engine/embedding_pass.h"

#include <algorithm>
#include <stdexcept>

#include "data/status_macros.h"
#include "launcher/control.h"
#include "trainer/engine/gather.h"

namespace trainer::engine {
namespace {

// frames (T, n_mels), T > max_frames; returns (E).
torch::Tensor EmbedLong(model::Classifier& model, const torch::Tensor& frames, int64_t max_frames) {
  const int64_t length = frames.size(0);
  const int64_t windows = (length + max_frames - 1) / max_frames;
  torch::Tensor sum;
  for (int64_t i = 0; i < windows; ++i) {
    const int64_t begin = i * length / windows, end = (i + 1) * length / windows;
    const auto window = frames.narrow(0, begin, end - begin).unsqueeze(0);
    const auto part = model.Embed(window, {}).squeeze(0) * static_cast<double>(end - begin);
    sum = sum.defined() ? sum + part : part;
  }
  return sum / static_cast<double>(length);
}

}  // namespace

torch::Tensor EmbedInWindows(model::Classifier& model, const torch::Tensor& mels,
                             const torch::Tensor& lengths, int64_t max_frames) {
  TORCH_CHECK(max_frames >= 1, "a window has at least one frame");
  if (mels.size(1) <= max_frames) {
    return model.Embed(mels, lengths.defined() ? lengths.to(mels.device()) : torch::Tensor());
  }
  const auto all_lengths = lengths.defined() ? lengths : torch::full({mels.size(0)}, mels.size(1));
  std::vector<torch::Tensor> rows(static_cast<size_t>(mels.size(0)));
  const auto short_rows = (all_lengths <= max_frames).nonzero().squeeze(1);
  if (short_rows.numel() > 0) {
    const auto short_lengths = all_lengths.index_select(0, short_rows);
    const auto embedded = model.Embed(
        mels.index_select(0, short_rows.to(mels.device())).narrow(1, 0, short_lengths.max().item<int64_t>()),
        short_lengths.to(mels.device()));
    for (int64_t i = 0; i < short_rows.numel(); ++i) {
      rows[static_cast<size_t>(short_rows[i].item<int64_t>())] = embedded[i];
    }
  }
  for (int64_t row = 0; row < mels.size(0); ++row) {
    const int64_t length = all_lengths[row].item<int64_t>();
    if (length <= max_frames) continue;
    rows[static_cast<size_t>(row)] = EmbedLong(model, mels[row].narrow(0, 0, length), max_frames);
  }
  return torch::stack(rows);
}

absl::Status EmbedEach(const launcher::World& world, model::Classifier& model, torch::Device device,
                       data::EvaluationLoader& loader, int64_t max_frames, const ConsumeEmbeddings& consume) {
  const torch::InferenceMode inference;
  model.eval();
  absl::Status status;
  while (true) {
    const auto batch = loader.Next();
    status = batch.status();
    if (!status.ok() || *batch == nullptr) break;
    const auto lengths = (*batch)->padded ? (*batch)->lengths : torch::Tensor();
    const auto embeddings = EmbedInWindows(model, (*batch)->mels.to(device), lengths, max_frames);
    if (!embeddings.isfinite().all().item<bool>()) {
      status = absl::DataLossError(
          "the model makes embeddings that are not finite: its training has diverged; use an earlier "
          "checkpoint, or train anew with a lower optimizer.lr");
      break;
    }
    consume(**batch, embeddings);
  }
  return launcher::AgreeOn(world, status);
}

absl::StatusOr<Embeddings> EmbedUtterances(const launcher::World& world, model::Classifier& model,
                                           torch::Device device, data::EvaluationLoader& loader,
                                           int64_t max_frames, const std::vector<int64_t>& utterances) {
  std::vector<int64_t> mine;
  std::vector<float> values;
  RETURN_IF_ERROR(EmbedEach(world, model, device, loader, max_frames,
                            [&](const data::Batch& batch, const torch::Tensor& embeddings) {
                              const auto rows = embeddings.to(torch::kCPU, torch::kFloat32).contiguous();
                              mine.insert(mine.end(), batch.utterances.begin(), batch.utterances.end());
                              values.insert(values.end(), rows.const_data_ptr<float>(),
                                            rows.const_data_ptr<float>() + rows.numel());
                            }));
  const auto numbers = GatherRecords(world, mine);
  const auto gathered = GatherRecords(world, values);
  Embeddings result;
  if (world.rank != 0 || numbers.empty()) return result;
  if (numbers.size() != utterances.size())
    throw std::logic_error("the ranks' utterances are not the split's");
  const size_t width = gathered.size() / numbers.size();
  result.width = static_cast<int64_t>(width);
  result.values.resize(gathered.size());
  for (size_t i = 0; i < numbers.size(); ++i) {
    const auto place =
        std::lower_bound(utterances.begin(), utterances.end(), numbers[i]) - utterances.begin();
    std::copy_n(gathered.begin() + static_cast<std::ptrdiff_t>(i * width), width,
                result.values.begin() + place * static_cast<std::ptrdiff_t>(width));
  }
  return result;
}

}  // namespace trainer::engine
