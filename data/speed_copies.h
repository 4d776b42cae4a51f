// Copies of training recordings at other speeds, as speakers of their own.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "data/ingest.h"

namespace data {

// "0.9,1.1" -> {0.9, 1.1}, each as exact as its first six digits. kInvalidArgument, naming the factor, where
// one is no number, not between 0.5 and 2, 1, or there twice.
absl::StatusOr<std::vector<double>> ParseSpeeds(const std::string& text);

// The name of the copy of the speaker or utterance `name` at `speed`: "ann" at 0.9 is "ann@0.9".
std::string SpeedCopyName(const std::string& name, double speed);

// Whether `speaker` is named as a copy at one of `speeds` is.
bool IsSpeedCopy(const std::string& speaker, const std::vector<double>& speeds);

// Whom `speaker` is, or is a copy of: "ann" for "ann" and for "ann@0.9", 0.9 being one of `speeds`.
std::string OriginalSpeaker(const std::string& speaker, const std::vector<double>& speeds);

// For each of `speakers` the number of the one whom it is a copy of; its own where it is none, or where the
// original is not among them.
std::vector<int32_t> OriginalNumbers(const std::vector<std::string>& speakers,
                                     const std::vector<double>& speeds);

// Appends to the list, for each speed, a copy of every labelled recording of split `train`: another
// utterance, of another speaker, read at that speed. What the list held before stays as it was, number by
// number. Only when the recordings have their final splits does this keep copies of validation and test
// recordings out of `train`. kInvalidArgument where a speaker is already named like a copy, or no recording
// is in split `train`.
absl::Status AddSpeedCopies(const std::vector<double>& speeds, IngestList* list);

}  // namespace data
