// RUN/evaluation, as `trainer evaluate --out` writes it, and whether it is still of the run's best
// checkpoint.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace trainer::report {

struct SpeakerRow {
  std::string speaker;
  int64_t utterances = 0;
  int64_t correct = 0;
  std::string confused_with;  // the most frequent wrong answer, "" where there is none
  int64_t confusions = 0;     // how often it came
};

struct Evaluation {
  nlohmann::json figures;            // evaluation.json, an object; null where there is none
  std::vector<SpeakerRow> speakers;  // those with utterances
  // The confusion matrix, where it is small enough to be drawn: otherwise all empty.
  std::vector<std::string> columns;  // the answers that occur, and all speakers with utterances
  struct Cell {
    size_t row = 0;     // into `speakers`
    size_t column = 0;  // into `columns`
    int64_t count = 0;  // above 0
  };
  std::vector<Cell> cells;
};

// Most speakers that a confusion matrix is drawn of.
inline constexpr size_t kLargestMatrix = 120;

// kNotFound where `folder` holds no evaluation, kDataLoss where a table in it is damaged: one line.
absl::StatusOr<Evaluation> ReadEvaluation(const std::string& folder);

// Why the evaluation is not of the checkpoint that RUN/checkpoints/best is now, as a sentence; "" where it
// is, or where there is no such checkpoint to compare with.
std::string WhyStale(const Evaluation& evaluation, const std::string& run_folder);

}  // namespace trainer::report
