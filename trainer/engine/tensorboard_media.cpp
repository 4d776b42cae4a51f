#include "trainer/engine/tensorboard_media.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "data/status_macros.h"
#include "trainer/telemetry/projector.h"

namespace trainer::engine {
namespace {

constexpr size_t kPictured = 6, kProjected = 2000;
constexpr int64_t kPictureFrames = 640;
constexpr int64_t kLikeliest = 3;

// `count` of `all`, or all where they are fewer, as far apart as they can be: mostly of different speakers,
// for a data set's utterances lie speaker by speaker.
std::vector<int64_t> EvenlyChosen(const std::vector<int64_t>& all, size_t count) {
  count = std::min(count, all.size());
  std::vector<int64_t> chosen;
  for (size_t i = 0; i < count; ++i) chosen.push_back(all[i * all.size() / count]);
  return chosen;
}

// Text as a cell of a Markdown table.
std::string Cell(const std::string& text) {
  return absl::StrCat(" ", absl::StrReplaceAll(text, {{"|", "\\|"}, {"\n", " "}}), " |");
}

}  // namespace

absl::StatusOr<std::vector<Prediction>> Predict(model::Classifier& model, torch::Device device,
                                                const TrainingData& data) {
  const launcher::World alone;
  const auto name = [&](int64_t speaker) -> const std::string& {
    return data.dataset().manifest().speakers[static_cast<size_t>(speaker)];
  };
  const auto loader = data.MakeLoaderOf(EvenlyChosen(data.validation(), kPictured), alone, device.is_cuda());
  std::vector<Prediction> predictions;
  const auto predict = [&](const data::Batch& batch, const torch::Tensor& embeddings) {
    const auto logits = model.Answers(embeddings, batch.speakers.to(device));
    const auto [probabilities, classes] =
        at::softmax(logits.to(torch::kFloat64), 1)
            .topk(std::min(kLikeliest, logits.size(1)), /*dim=*/1, /*largest=*/true, /*sorted=*/true);
    const auto host_probabilities = probabilities.to(torch::kCPU), host_classes = classes.to(torch::kCPU);
    for (size_t i = 0; i < batch.utterances.size(); ++i) {
      const auto row = static_cast<int64_t>(i);
      Prediction prediction;
      prediction.utterance = batch.utterances[i];
      prediction.speaker = name(batch.speakers[row].item<int64_t>());
      for (int64_t place = 0; place < host_classes.size(1); ++place) {
        prediction.likeliest.push_back(name(host_classes[row][place].item<int64_t>()));
        prediction.probabilities.push_back(host_probabilities[row][place].item<double>());
      }
      auto& strip = prediction.strip;
      strip.frames = std::min(batch.lengths[row].item<int64_t>(), kPictureFrames);
      const auto mels = batch.mels[row].narrow(0, 0, strip.frames).contiguous();
      strip.mels.assign(mels.const_data_ptr<float>(), mels.const_data_ptr<float>() + mels.numel());
      strip.right = host_classes[row][0].item<int64_t>() == batch.speakers[row].item<int64_t>();
      predictions.push_back(std::move(prediction));
    }
  };
  RETURN_IF_ERROR(EmbedEach(alone, model, device, *loader, kDefaultMaxFrames, predict));
  std::sort(predictions.begin(), predictions.end(),
            [](const auto& a, const auto& b) { return a.utterance < b.utterance; });
  for (auto& prediction : predictions) {
    ASSIGN_OR_RETURN(prediction.id, data.dataset().utterance_id(prediction.utterance));
  }
  return predictions;
}

telemetry::Summary HistogramsOf(const std::vector<optim::FlatParameters::Slot>& slots,
                                const torch::Tensor& values, const torch::Tensor& gradients) {
  telemetry::Summary summary;
  const auto add = [&](const char* group, const torch::Tensor& buffer) {
    const auto* begin = buffer.const_data_ptr<float>();
    // From the first layer to the last.
    for (auto slot = slots.rbegin(); slot != slots.rend(); ++slot) {
      summary.AddHistogram(absl::StrCat(group, slot->name),
                           telemetry::HistogramOf({begin + slot->offset, static_cast<size_t>(slot->size)}));
    }
  };
  add("weights/", values);
  add("gradients/", gradients);
  return summary;
}

telemetry::Summary PicturesOf(std::vector<Prediction> predictions) {
  telemetry::Summary summary;
  if (predictions.empty()) return summary;
  const auto n_mels = static_cast<int64_t>(predictions[0].strip.mels.size()) / predictions[0].strip.frames;
  std::vector<telemetry::MelStrip> strips;
  std::string table = "| utterance | speaker | likeliest |\n|---|---|---|\n";
  for (auto& prediction : predictions) {
    const auto& answer = prediction.likeliest[0];
    const double percent = 100 * prediction.probabilities[0];
    auto& strip = strips.emplace_back(std::move(prediction.strip));
    strip.caption = strip.right
                        ? absl::StrFormat("%s (%.0f%%)", answer, percent)
                        : absl::StrFormat("%s, taken for %s (%.0f%%)", prediction.speaker, answer, percent);
    std::string likeliest;
    for (size_t i = 0; i < prediction.likeliest.size(); ++i) {
      absl::StrAppendFormat(&likeliest, "%s%s %.1f%%", i == 0 ? "" : ", ", prediction.likeliest[i],
                            100 * prediction.probabilities[i]);
    }
    absl::StrAppend(&table, "|", Cell(prediction.id), Cell(prediction.speaker), Cell(likeliest), "\n");
  }
  summary.AddImage("valid/predictions", telemetry::DrawMels(strips, n_mels, kPictureFrames).ToPng());
  summary.AddText("valid/likeliest_speakers", table);
  return summary;
}

absl::Status WriteEmbeddings(const launcher::World& world, model::Classifier& model, torch::Device device,
                             const TrainingData& data, const std::string& folder) {
  const auto utterances = EvenlyChosen(data.validation(), kProjected);
  const auto loader = data.MakeLoaderOf(utterances, world, device.is_cuda());
  ASSIGN_OR_RETURN(const auto embeddings,
                   EmbedUtterances(world, model, device, *loader, kDefaultMaxFrames, utterances));
  if (world.rank != 0 || utterances.empty()) return absl::OkStatus();
  telemetry::ProjectorTable table{.name = "valid_embeddings",
                                  .values = embeddings.values,
                                  .width = embeddings.width,
                                  .columns = {"speaker", "utterance"},
                                  .rows = {}};
  for (const int64_t utterance : utterances) {
    ASSIGN_OR_RETURN(const auto id, data.dataset().utterance_id(utterance));
    const auto speaker = static_cast<size_t>(data.dataset().speaker(utterance));
    table.rows.push_back({data.dataset().manifest().speakers[speaker], id});
  }
  return WriteProjector(table, folder);
}

}  // namespace trainer::engine
