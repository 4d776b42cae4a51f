#include "trainer/scoring/trials.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace trainer::scoring {
namespace {

using ::testing::HasSubstr;

const std::vector<std::string> kIds = {"a.wav", "b.wav", "c d.wav"};

std::string ErrorOf(const std::string& text) {
  const auto trials = ParseTrials(text, kIds, "split 'test' of shards");
  EXPECT_FALSE(trials.ok());
  EXPECT_EQ(trials.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(trials.status().message());
}

TEST(ParseTrials, TakesAllSpellings) {
  const auto trials = ParseTrials(
      "1 a.wav b.wav\r\n\n0   b.wav a.wav\ntarget\ta.wav\tc d.wav\nnontarget\tc d.wav\tb.wav", kIds, "split");
  ASSERT_TRUE(trials.ok()) << trials.status();
  EXPECT_EQ(*trials, (std::vector<Trial>{{0, 1, true}, {1, 0, false}, {0, 2, true}, {2, 1, false}}));
}

TEST(ParseTrials, NamesLineAndFault) {
  EXPECT_THAT(ErrorOf("1 a.wav b.wav\n0 a.wav\n"), HasSubstr("line 2: '0 a.wav' has 2 fields"));
  EXPECT_THAT(ErrorOf("1 a.wav b.wav b.wav\n"), HasSubstr("has 4 fields"));
  EXPECT_THAT(ErrorOf("2 a.wav b.wav\n"), HasSubstr("line 1: the label is '2'"));
  EXPECT_THAT(ErrorOf("1 a.wav b.wav\n0 a.wav x.wav\n"), HasSubstr("line 2: 'x.wav' is not in split 'test'"));
  EXPECT_THAT(ErrorOf("1 a.wav b.wav\n"), HasSubstr("no nontarget trial"));
  EXPECT_THAT(ErrorOf("0 a.wav b.wav\n"), HasSubstr("no target trial"));
  EXPECT_THAT(ErrorOf("\n\n"), HasSubstr("no trial in it"));
  const auto binary = ErrorOf(std::string("\x00\xff\x1b[31m\n", 8));
  EXPECT_EQ(binary.find('\x1b'), std::string::npos) << "control characters reach the terminal";
  EXPECT_LT(ErrorOf(std::string(100000, 'x')).size(), 300u);
}

TEST(FormatTrials, CanBeReadAgain) {
  const std::vector<Trial> trials = {{0, 1, true}, {1, 2, false}};
  for (const auto& ids : {kIds, std::vector<std::string>{"a", "b", "c"}}) {
    const auto text = FormatTrials(trials, ids);
    ASSERT_TRUE(text.ok()) << text.status();
    EXPECT_EQ(*ParseTrials(*text, ids, "split"), trials);
  }
  EXPECT_EQ(*FormatTrials(trials, {"a", "b", "c"}), "1 a b\n0 b c\n");
  for (const char* id : {"a\tb", "a\n", " a", ""})
    EXPECT_FALSE(FormatTrials(trials, {id, "b", "c"}).ok()) << id;
}

TEST(MakeTrials, AllPairsOfFewUtterances) {
  const std::vector<int32_t> speakers = {7, 3, 7, 3, 5};
  const auto trials = MakeTrials(speakers, 10, 1);
  ASSERT_TRUE(trials.ok()) << trials.status();
  std::vector<Trial> expected;
  for (int64_t i = 0; i < 5; ++i) {
    for (int64_t j = i + 1; j < 5; ++j) {
      expected.push_back({i, j, speakers[static_cast<size_t>(i)] == speakers[static_cast<size_t>(j)]});
    }
  }
  EXPECT_EQ(*trials, expected);
}

void ExpectSound(const std::vector<Trial>& trials, const std::vector<int32_t>& speakers) {
  std::set<std::pair<int64_t, int64_t>> seen;
  for (const auto& trial : trials) {
    EXPECT_LT(trial.enrol, trial.test);
    EXPECT_TRUE(seen.emplace(trial.enrol, trial.test).second);
    EXPECT_EQ(trial.target,
              speakers[static_cast<size_t>(trial.enrol)] == speakers[static_cast<size_t>(trial.test)]);
  }
}

TEST(MakeTrials, ABalancedSampleOfMany) {
  std::vector<int32_t> speakers;
  for (int i = 0; i < 300; ++i) speakers.push_back(i % 20);
  const auto trials = MakeTrials(speakers, 1000, 1);  // of 2,100 targets and 42,750 others
  ASSERT_TRUE(trials.ok()) << trials.status();
  ExpectSound(*trials, speakers);
  EXPECT_EQ(trials->size(), 1000u);
  EXPECT_EQ(std::count_if(trials->begin(), trials->end(), [](const Trial& t) { return t.target; }), 500);
  std::set<int64_t> used;
  for (const auto& trial : *trials) used.insert({trial.enrol, trial.test});
  EXPECT_GT(used.size(), 290u) << "the sample leaves utterances out";
  EXPECT_EQ(*trials, *MakeTrials(speakers, 1000, 1));
  EXPECT_NE(*trials, *MakeTrials(speakers, 1000, 2));
}

TEST(MakeTrials, TakesAllOfAKindThatIsRare) {
  std::vector<int32_t> speakers(60, 0);
  speakers.push_back(1);  // 60 nontarget pairs, 1,770 targets
  const auto many_targets = MakeTrials(speakers, 400, 1);
  ExpectSound(*many_targets, speakers);
  EXPECT_EQ(many_targets->size(), 260u);
  for (int i = 0; i < 61; ++i) speakers[static_cast<size_t>(i)] = i;
  speakers[60] = 0;  // one target pair
  const auto one_target = MakeTrials(speakers, 400, 1);
  ExpectSound(*one_target, speakers);
  EXPECT_EQ(one_target->size(), 201u);
}

TEST(MakeTrials, RefusesOneKindOnly) {
  EXPECT_THAT(MakeTrials({1, 1, 1}, 100, 1).status().message(), HasSubstr("one speaker"));
  EXPECT_THAT(MakeTrials({1, 2, 3}, 100, 1).status().message(), HasSubstr("two utterances"));
  EXPECT_FALSE(MakeTrials({}, 100, 1).ok());
  EXPECT_FALSE(MakeTrials({1}, 100, 1).ok());
}

}  // namespace
}  // namespace trainer::scoring
