#include "data/split.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace data {
namespace {

TEST(ParseSplit, TakesNamesAndWeights) {
  const auto spec = ParseSplit("train:valid:test=80:10:10");
  ASSERT_TRUE(spec.ok());
  EXPECT_EQ(spec->names, (std::vector<std::string>{"train", "valid", "test"}));
  EXPECT_EQ(spec->weights, (std::vector<int64_t>{80, 10, 10}));
}

TEST(ParseSplit, NamesWhatIsWrong) {
  for (const auto& [text, expected] : std::vector<std::pair<std::string, std::string>>{
           {"", "not NAMES=WEIGHTS"},
           {"train", "not NAMES=WEIGHTS"},
           {"a=1=2", "not NAMES=WEIGHTS"},
           {"a:b=1", "2 names but 1 weights"},
           {"a:b=1:0", "weight '0'"},
           {"a:b=1:0.5", "weight '0.5'"},
           {"a:b=1:-3", "weight '-3'"},
           {"a:b=1:99999999999999999999", "weight '99999999999999999999'"},
           {"a:=1:1", "'' is no name"},
           {"a:b/c=1:1", "'b/c' is no name"},
           {"a:a=1:1", "'a' comes twice"}}) {
    const absl::Status status = ParseSplit(text).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << text;
    EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr(expected));
    EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("train:valid:test=80:10:10"));
  }
}

std::vector<int32_t> Speakers(int64_t speakers, int64_t each) {
  std::vector<int32_t> labels;
  for (int64_t i = 0; i < each; ++i) {
    for (int64_t s = 0; s < speakers; ++s) labels.push_back(static_cast<int32_t>(s));
    labels.push_back(-1);
  }
  return labels;
}

// counts[speaker][split]
std::vector<std::vector<int64_t>> Counts(const std::vector<int32_t>& speakers,
                                         const std::vector<int32_t>& splits, size_t n_speakers,
                                         size_t n_splits) {
  std::vector<std::vector<int64_t>> counts(n_speakers, std::vector<int64_t>(n_splits));
  for (size_t i = 0; i < speakers.size(); ++i) {
    if (speakers[i] < 0) {
      EXPECT_EQ(splits[i], -1);
    } else {
      ++counts[static_cast<size_t>(speakers[i])][static_cast<size_t>(splits[i])];
    }
  }
  return counts;
}

TEST(AssignSplits, IsExactPerSpeakerWhereItDivides) {
  const auto speakers = Speakers(30, 20);
  const auto splits = AssignSplits(*ParseSplit("train:valid:test=80:10:10"), 3, speakers);
  for (const auto& counts : Counts(speakers, splits, 30, 3))
    EXPECT_EQ(counts, (std::vector<int64_t>{16, 2, 2}));
}

TEST(AssignSplits, IsFairWhereItDoesNotDivide) {
  const auto speakers = Speakers(2000, 3);
  const auto splits = AssignSplits(*ParseSplit("train:valid=90:10"), 3, speakers);
  int64_t valid = 0;
  for (const auto& counts : Counts(speakers, splits, 2000, 2)) {
    EXPECT_GE(counts[0], 2);
    EXPECT_LE(counts[1], 1);
    valid += counts[1];
  }
  // 10 % of 6000; standard deviation 20.
  EXPECT_NEAR(static_cast<double>(valid), 600, 80);
}

TEST(AssignSplits, GivesTheFirstSplitOneOfEverySpeaker) {
  const auto speakers = Speakers(200, 1);
  const auto splits = AssignSplits(*ParseSplit("train:valid=1:9"), 3, speakers);
  for (const auto& counts : Counts(speakers, splits, 200, 2)) EXPECT_EQ(counts[0], 1);
}

TEST(AssignSplits, DependsOnTheSeedAlone) {
  const auto speakers = Speakers(10, 20);
  const auto spec = *ParseSplit("train:valid=1:1");
  EXPECT_EQ(AssignSplits(spec, 1, speakers), AssignSplits(spec, 1, speakers));
  EXPECT_NE(AssignSplits(spec, 1, speakers), AssignSplits(spec, 2, speakers));
}

}  // namespace
}  // namespace data
