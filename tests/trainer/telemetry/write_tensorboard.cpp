// Writes event files of known content, which tensorboard_test.py reads back:
//   write_tensorboard scalars FOLDER LAST_STEP FIRST LAST   the figures of steps FIRST to LAST of a run that
//   goes on
//                                                           after LAST_STEP
//   write_tensorboard media FOLDER                          one of everything else
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <string_view>

#include "trainer/telemetry/hparams.h"
#include "trainer/telemetry/mel_picture.h"
#include "trainer/telemetry/projector.h"
#include "trainer/telemetry/tensorboard_figures.h"
#include "trainer/telemetry/tensorboard_writer.h"

namespace trainer::telemetry {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
constexpr double kStart = 1.75e9;  // Unix seconds

void OrDie(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  std::exit(1);
}

TensorBoardWriter OpenOrDie(const std::string& folder, int64_t last_step) {
  auto writer = TensorBoardWriter::Open(folder, last_step);
  OrDie(writer.status());
  return *std::move(writer);
}

IntervalFigures FiguresOf(int64_t step) {
  const auto s = static_cast<double>(step);
  IntervalFigures figures;
  figures.step = step;
  figures.unix_seconds = kStart + s;
  figures.loss = 1 / s;
  figures.accuracy = 1 - 1 / s;
  figures.epoch = step / 10;
  figures.learning_rate = 1e-3 / s;
  figures.step_seconds = 0.25;
  figures.flops_per_step = 5e9;
  for (size_t i = 0; i < kPhases; ++i) figures.phase_seconds[i] = 1e-3 * static_cast<double>(i + 1);
  if (step % 4 == 0) figures.valid_loss = 2 / s, figures.valid_accuracy = 0.5;
  if (step > 2) {
    RanksFigures ranks;
    ranks.step = step - 1;
    ranks.ranks.resize(3);
    ranks.hosts = {"a", "a", "b"};
    for (size_t rank = 0; rank < 3; ++rank) {
      ranks.ranks[rank].phase_seconds[static_cast<size_t>(Phase::kForward)] = rank == 1 ? 0.5 : 0.125;
      ranks.ranks[rank].host_memory_bytes = 1e6 * static_cast<double>(rank);
      ranks.ranks[rank].device_memory_bytes = kNone;
      ranks.ranks[rank].gpu_temperature_celsius = rank == 2 ? 61 : kNone;
    }
    figures.ranks = ranks;
  }
  return figures;
}

void WriteScalars(const std::string& folder, int64_t last_step, int64_t first, int64_t last) {
  auto writer = OpenOrDie(folder, last_step);
  for (int64_t step = first; step <= last; ++step) OrDie(Write(FiguresOf(step), writer));
}

MelStrip Strip(int64_t frames, int64_t number, const std::string& caption, bool right) {
  MelStrip strip{{}, frames, caption, right};
  for (int64_t x = 0; x < frames; ++x) {
    for (int64_t mel = 0; mel < 5; ++mel) {
      strip.mels.push_back(static_cast<float>((x * 31 + mel * 17 + number * 5) % 101));
    }
  }
  return strip;
}

void WriteMedia(const std::string& folder) {
  auto writer = OpenOrDie(folder, 0);
  const nlohmann::json config = {{"optimizer", {{"lr", 0.125}, {"betas", {0.5, 0.75}}}},
                                 {"model", {{"type", "conformer"}, {"causal", false}, {"layers", 3}}},
                                 {"run", {{"dir", "r\xff\x20s"}, {"deep", {{"key", true}}}}}};
  OrDie(writer.Write(HparamsOfRun(config, {"final/accuracy", "train/loss"}, kStart), 0, kStart));

  std::vector<float> values;
  for (int i = 0; i < 1000; ++i) values.push_back(static_cast<float>(i * i % 997) / 8);
  values.push_back(std::numeric_limits<float>::quiet_NaN());
  values.push_back(-std::numeric_limits<float>::infinity());
  Summary summary;
  summary.AddHistogram("weights/encoder.0", HistogramOf(values, 10));
  summary.AddHistogram("weights/zeros", HistogramOf(std::vector<float>(32, 0.0F)));
  summary.AddImage(
      "valid/mels",
      DrawMels({Strip(90, 0, "A says B \xc3\xa9", true), Strip(70, 1, "A", false)}, 5, 80).ToPng());
  summary.AddText("valid/predictions", "| utterance |\n|---|\n| \xc3\xa9 |\n");
  OrDie(writer.Write(summary, 7, kStart + 7));
  OrDie(writer.Write(Summary(), 8, kStart + 8));
  OrDie(writer.Write(EndOfRun({{"final/accuracy", 0.875}}, kStart + 9), 9, kStart + 9));

  std::vector<float> embeddings;
  for (int i = 0; i < 4 * 3; ++i) embeddings.push_back(static_cast<float>(i) / 7 - 1);
  OrDie(WriteProjector({"embeddings",
                        embeddings,
                        3,
                        {"utterance", "speaker"},
                        {{"u0", "ann"}, {"u\t1", "bob"}, {"u2", "\xc3\xa9ve"}, {"u3", "ann"}}},
                       folder));
}

}  // namespace
}  // namespace trainer::telemetry

int main(int argc, char** argv) {
  const std::string_view what = argc > 1 ? argv[1] : "";
  if (what == "scalars" && argc == 6) {
    trainer::telemetry::WriteScalars(argv[2], std::atoll(argv[3]), std::atoll(argv[4]), std::atoll(argv[5]));
  } else if (what == "media" && argc == 3) {
    trainer::telemetry::WriteMedia(argv[2]);
  } else {
    std::fprintf(stderr, "see the head of write_tensorboard.cpp\n");
    return 2;
  }
  return 0;
}
