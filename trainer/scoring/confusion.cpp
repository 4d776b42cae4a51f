#include "trainer/scoring/confusion.h"

#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "data/csv.h"

namespace trainer::scoring {

int64_t ConfusionMatrix::utterances(int64_t speaker) const {
  const auto row = counts_.begin() + static_cast<std::ptrdiff_t>(Place(speaker, 0));
  return std::accumulate(row, row + static_cast<std::ptrdiff_t>(speakers_.size()), int64_t{0});
}

std::vector<int64_t> ConfusionMatrix::Present() const {
  std::vector<int64_t> present;
  for (int64_t s = 0; s < static_cast<int64_t>(speakers_.size()); ++s) {
    if (utterances(s) > 0) present.push_back(s);
  }
  return present;
}

std::string ConfusionMatrix::SpeakersCsv() const {
  std::string csv = "speaker,utterances,correct,accuracy,confused_with,confusions\n";
  for (const int64_t s : Present()) {
    int64_t most = 0;
    std::string name;
    for (int64_t other = 0; other < static_cast<int64_t>(speakers_.size()); ++other) {
      if (other == s || count(s, other) <= most) continue;
      most = count(s, other);
      name = speakers_[static_cast<size_t>(other)];
    }
    const int64_t total = utterances(s), correct = count(s, s);
    absl::StrAppendFormat(&csv, "%s,%d,%d,%.6f,%s,%d\n", data::QuoteCsv(speakers_[static_cast<size_t>(s)]),
                          total, correct, static_cast<double>(correct) / static_cast<double>(total),
                          data::QuoteCsv(name), most);
  }
  return csv;
}

std::string ConfusionMatrix::Csv() const {
  std::string csv = "speaker";
  for (const auto& name : speakers_) absl::StrAppend(&csv, ",", data::QuoteCsv(name));
  csv += '\n';
  for (const int64_t s : Present()) {
    csv += data::QuoteCsv(speakers_[static_cast<size_t>(s)]);
    for (int64_t other = 0; other < static_cast<int64_t>(speakers_.size()); ++other) {
      absl::StrAppend(&csv, ",", count(s, other));
    }
    csv += '\n';
  }
  return csv;
}

}  // namespace trainer::scoring
