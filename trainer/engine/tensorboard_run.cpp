#include "trainer/engine/tensorboard_run.h"

#include <filesystem>
#include <utility>
#include <vector>

#include "trainer/telemetry/hparams.h"
#include "trainer/telemetry/log.h"
#include "trainer/telemetry/tensorboard_figures.h"
#include "trainer/telemetry/unix_time.h"

namespace trainer::engine {
namespace {
constexpr char kValidLoss[] = "final/valid_loss", kValidAccuracy[] = "final/valid_accuracy",
               kBestValidAccuracy[] = "final/best_valid_accuracy";
}

TensorBoardRun::TensorBoardRun(const config::Config& config, int64_t last_step, telemetry::TaskQueue& queue,
                               std::function<bool()> may_write)
    : folder_((std::filesystem::path(config.run.dir) / "tensorboard").string()),
      queue_(queue),
      may_write_(std::move(may_write)) {
  auto writer = telemetry::TensorBoardWriter::Open(folder_, last_step);
  Check(writer.status());
  if (!writer.ok()) return;
  writer_.emplace(*std::move(writer));
  Write(telemetry::HparamsOfRun(
            config::ToJson(config),
            {kValidAccuracy, kValidLoss, kBestValidAccuracy, "valid/accuracy", "train/loss"},
            telemetry::UnixSeconds()),
        last_step);
}

void TensorBoardRun::Log(const telemetry::IntervalFigures& figures) {
  if (!writer_) return;
  queue_.Post([this, figures] {
    if (may_write_()) Check(telemetry::Write(figures, *writer_));
  });
}

void TensorBoardRun::ShowParameters(const optim::FlatParameters& parameters, int64_t step, bool last) {
  if (!writer_) return;
  if (histograms_wait_.exchange(true) && !last) return;
  // Copies, for the next step changes them.
  const auto copy = [](const torch::Tensor& buffer) {
    return buffer.is_cpu() ? buffer.clone() : buffer.to(torch::kCPU);
  };
  queue_.Post([this, slots = parameters.slots(), values = copy(parameters.values()),
               gradients = copy(parameters.gradients()), step, now = telemetry::UnixSeconds()] {
    if (may_write_()) Check(writer_->Write(HistogramsOf(slots, values, gradients), step, now));
    histograms_wait_ = false;
  });
}

void TensorBoardRun::ShowPredictions(model::Classifier& model, torch::Device device, const TrainingData& data,
                                     int64_t step) {
  if (!writer_) return;
  auto predictions = Predict(model, device, data);
  Check(predictions.status());
  if (!predictions.ok()) return;
  queue_.Post([this, predictions = *std::move(predictions), step, now = telemetry::UnixSeconds()]() mutable {
    if (may_write_()) Check(writer_->Write(PicturesOf(std::move(predictions)), step, now));
  });
}

void TensorBoardRun::Finish(const FinalFigures& figures, int64_t step) {
  std::vector<std::pair<std::string, double>> metrics;
  const auto add = [&](const char* tag, const std::optional<double>& value) {
    if (value) metrics.emplace_back(tag, *value);
  };
  add(kValidLoss, figures.valid_loss);
  add(kValidAccuracy, figures.valid_accuracy);
  add(kBestValidAccuracy, figures.best_valid_accuracy);
  Write(telemetry::EndOfRun(metrics, telemetry::UnixSeconds()), step);
}

void TensorBoardRun::Write(telemetry::Summary summary, int64_t step) {
  if (!writer_) return;
  queue_.Post([this, summary = std::move(summary), step, now = telemetry::UnixSeconds()] {
    if (may_write_()) Check(writer_->Write(summary, step, now));
  });
}

void TensorBoardRun::Check(const absl::Status& status) {
  if (status.ok() || warned_.exchange(true)) return;
  telemetry::Warn(std::string(status.message()));
}

}  // namespace trainer::engine
