// Who was taken for whom.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace trainer::scoring {

// Counts of (true speaker, predicted speaker), both numbers into the names it was made with. Memory: 8 bytes
// times the square of the speakers.
class ConfusionMatrix {
 public:
  explicit ConfusionMatrix(std::vector<std::string> speakers)
      : speakers_(std::move(speakers)), counts_(speakers_.size() * speakers_.size(), 0) {}

  void Add(int64_t speaker, int64_t predicted) { ++counts_[Place(speaker, predicted)]; }

  const std::vector<std::string>& speakers() const { return speakers_; }
  int64_t count(int64_t speaker, int64_t predicted) const { return counts_[Place(speaker, predicted)]; }
  int64_t utterances(int64_t speaker) const;

  // The speakers who have utterances, ascending: the rows of the tables and of the plot.
  std::vector<int64_t> Present() const;

  // CSV: a row a present speaker, `speaker,utterances,correct,accuracy,confused_with,confusions`; the last
  // two name the most frequent wrong answer (the first of equals) and how often it came, empty and 0 where
  // there is none.
  std::string SpeakersCsv() const;

  // CSV: the header is `speaker` and all names; a row a present speaker, with how often each name was the
  // answer.
  std::string Csv() const;

 private:
  size_t Place(int64_t speaker, int64_t predicted) const {
    return static_cast<size_t>(speaker) * speakers_.size() + static_cast<size_t>(predicted);
  }

  std::vector<std::string> speakers_;
  std::vector<int64_t> counts_;  // (speakers, speakers)
};

}  // namespace trainer::scoring
