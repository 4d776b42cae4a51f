#include "data/speed_copies.h"

#include <algorithm>
#include <cstdint>
#include <unordered_map>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace data {

absl::StatusOr<std::vector<double>> ParseSpeeds(const std::string& text) {
  std::vector<double> speeds;
  for (const std::string& factor : std::vector<std::string>(absl::StrSplit(text, ','))) {
    const auto wrong = [&](const std::string& what) {
      return absl::InvalidArgumentError(absl::StrCat("--speed ", text, ": '", factor, "' ", what,
                                                     "; write factors between 0.5 and 2, such as 0.9,1.1"));
    };
    double speed = 0;
    if (!absl::SimpleAtod(factor, &speed)) return wrong("is not a number");
    // Names carry six digits, and a speed is what its name says.
    if (!absl::SimpleAtod(absl::StrCat(speed), &speed) || !(speed > 0.5 && speed < 2)) {
      return wrong("is not between 0.5 and 2");
    }
    if (speed == 1) return wrong("is the recordings' own speed");
    if (std::find(speeds.begin(), speeds.end(), speed) != speeds.end()) return wrong("comes twice");
    speeds.push_back(speed);
  }
  return speeds;
}

std::string SpeedCopyName(const std::string& name, double speed) { return absl::StrCat(name, "@", speed); }

bool IsSpeedCopy(const std::string& speaker, const std::vector<double>& speeds) {
  return OriginalSpeaker(speaker, speeds) != speaker;
}

std::string OriginalSpeaker(const std::string& speaker, const std::vector<double>& speeds) {
  for (const double speed : speeds) {
    if (const std::string mark = SpeedCopyName("", speed); absl::EndsWith(speaker, mark)) {
      return speaker.substr(0, speaker.size() - mark.size());
    }
  }
  return speaker;
}

std::vector<int32_t> OriginalNumbers(const std::vector<std::string>& speakers,
                                     const std::vector<double>& speeds) {
  std::unordered_map<std::string, int32_t> number_of;
  for (size_t i = 0; i < speakers.size(); ++i) number_of.emplace(speakers[i], static_cast<int32_t>(i));
  std::vector<int32_t> originals;
  for (size_t i = 0; i < speakers.size(); ++i) {
    const auto found = number_of.find(OriginalSpeaker(speakers[i], speeds));
    originals.push_back(found == number_of.end() ? static_cast<int32_t>(i) : found->second);
  }
  return originals;
}

absl::Status AddSpeedCopies(const std::vector<double>& speeds, IngestList* list) {
  if (speeds.empty()) return absl::OkStatus();
  for (const std::string& speaker : list->speakers) {
    if (IsSpeedCopy(speaker, speeds)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "speaker '", speaker, "' is named like a copy that --speed makes; rename that speaker"));
    }
  }
  const size_t recordings = list->items.size();
  const size_t speakers = list->speakers.size();
  for (const double speed : speeds) {
    std::vector<int32_t> copy_of(speakers, -1);
    for (size_t i = 0; i < recordings; ++i) {
      IngestItem item = list->items[i];
      if (item.split != kTrainSplit || item.speaker < 0) continue;
      int32_t& copy = copy_of[static_cast<size_t>(item.speaker)];
      if (copy < 0) {
        copy = static_cast<int32_t>(list->speakers.size());
        list->speakers.push_back(SpeedCopyName(list->speakers[static_cast<size_t>(item.speaker)], speed));
      }
      item.name = SpeedCopyName(item.name, speed);
      item.speaker = copy;
      item.speed = speed;
      list->items.push_back(std::move(item));
    }
  }
  if (list->items.size() == recordings) {
    return absl::InvalidArgumentError(
        absl::StrCat("--speed copies recordings of split '", kTrainSplit, "', and there are none"));
  }
  return absl::OkStatus();
}

}  // namespace data
