// The tool `mels`, run as a user runs it.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <map>
#include <thread>

#include "tests/data/dataset_fixtures.h"
#include "tests/data/mels_runner.h"

namespace data {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

std::vector<std::string> SynthArguments(const std::string& folder,
                                        const std::vector<std::string>& more = {}) {
  std::vector<std::string> arguments = {"synth",        folder, "--speakers",   "4",
                                        "--utterances", "40",   "--max-frames", "120"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

TEST(Mels, SynthIsTheSameOnAnyNumberOfThreads) {
  const TemporaryFolder folder;
  ASSERT_EQ(RunMels(SynthArguments(folder.path("a"), {"--threads", "1", "--seed", "5"})).code, 0);
  ASSERT_EQ(RunMels(SynthArguments(folder.path("b"), {"--threads", "3", "--seed", "5"})).code, 0);
  ASSERT_EQ(RunMels(SynthArguments(folder.path("c"), {"--threads", "3", "--seed", "6"})).code, 0);
  EXPECT_EQ(ReadBytes(folder.path("a/shard-00000.h5")), ReadBytes(folder.path("b/shard-00000.h5")));
  EXPECT_EQ(ReadBytes(folder.path("a/dataset.json")), ReadBytes(folder.path("b/dataset.json")));
  EXPECT_NE(ReadBytes(folder.path("a/shard-00000.h5")), ReadBytes(folder.path("c/shard-00000.h5")));
}

TEST(Mels, SynthTakesItsOptions) {
  const TemporaryFolder folder;
  const Outcome outcome = RunMels(SynthArguments(
      folder.path("set"), {"--n-mels", "24", "--dtype", "float16", "--split", "train:valid:test=80:10:10"}));
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("40 utterances of 4 speakers"));
  const auto dataset = OpenOrDie(folder.path("set"));
  EXPECT_EQ(dataset->n_mels(), 24);
  EXPECT_EQ(dataset->manifest().dtype, DType::kFloat16);
  EXPECT_EQ(dataset->manifest().front_end.source, "synth");
  EXPECT_EQ(dataset->Split("train")->size(), 32u);
  EXPECT_EQ(dataset->Split("test")->size(), 4u);
}

TEST(Mels, RefusesBadUsageInOneLine) {
  const TemporaryFolder folder;
  const std::string set = folder.path("set");
  ExpectRefused({}, "subcommand is required");
  ExpectRefused({"frobnicate"}, "'frobnicate' is no command");
  ExpectRefused({"synth"}, "DST is required");
  ExpectRefused({"synth", set, "--speakers", "0"}, "--speakers");
  ExpectRefused({"synth", set, "--frobnicate"}, "--frobnicate");
  ExpectRefused({"synth", set, "--dtype", "float8"}, "dtype 'float8'");
  ExpectRefused({"synth", set, "--split", "train=1:2"}, "1 names but 2 weights");
  ExpectRefused({"info", set}, "no such folder");
  ExpectRefused({"check", folder.path()}, "has no dataset.json");
  ExpectRefused({"split", set}, "--split is required");
  EXPECT_EQ(RunMels({"--help"}).code, 0);
  EXPECT_THAT(RunMels({"synth", "--help"}).out, HasSubstr("--utterances"));
  EXPECT_FALSE(std::filesystem::exists(set));
}

TEST(Mels, KeepsADataSetUnlessForced) {
  const TemporaryFolder folder;
  ASSERT_EQ(RunMels(SynthArguments(folder.path("set"))).code, 0);
  const std::string before = ReadBytes(folder.path("set/shard-00000.h5"));
  ExpectRefused(SynthArguments(folder.path("set"), {"--seed", "9"}), "already holds a data set");
  EXPECT_EQ(ReadBytes(folder.path("set/shard-00000.h5")), before);
  EXPECT_EQ(RunMels(SynthArguments(folder.path("set"), {"--seed", "9", "--force"})).code, 0);
  EXPECT_NE(ReadBytes(folder.path("set/shard-00000.h5")), before);
}

TEST(Mels, SplitDealsAnewAndKeepsTheUnlabelled) {
  const TemporaryFolder folder;
  const SmallDataset source;
  source.Write(folder.path());
  const auto before = OpenOrDie(folder.path());
  const Outcome outcome = RunMels({"split", folder.path(), "--split", "a:b=3:1", "--seed", "4"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const auto dataset = OpenOrDie(folder.path());
  const auto a = *dataset->Split("a"), b = *dataset->Split("b"), test = *dataset->Split("test");
  EXPECT_EQ(test, *before->Split("test"));
  EXPECT_EQ(dataset->manifest().splits.size(), 3u);
  EXPECT_EQ(a.size() + b.size() + test.size(), 60u);
  for (const int64_t count : dataset->CountBySpeaker(b))
    EXPECT_NEAR(static_cast<double>(count), 52 / 5 / 4.0, 1.1);

  ExpectRefused({"split", folder.path(), "--split", "train:test=1:1"}, "split 'test'");
  ASSERT_EQ(RunMels({"split", folder.path(), "--split", "c:d=1:1", "--from", "b"}).code, 0);
  const auto again = OpenOrDie(folder.path());
  EXPECT_EQ(*again->Split("a"), a);
  EXPECT_EQ(again->Split("c")->size() + again->Split("d")->size(), b.size());
  EXPECT_FALSE(again->Split("b").ok());
  ExpectRefused({"split", folder.path(), "--split", "x=1", "--from", "nosuch"}, "no split 'nosuch'");
}

TEST(Mels, InfoCounts) {
  const TemporaryFolder folder;
  SeveralShards().Write(folder.path());
  const Outcome outcome = RunMels({"info", folder.path()});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const auto dataset = OpenOrDie(folder.path());
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("utterances  64\n"),
                                 HasSubstr("frames      " + std::to_string(dataset->manifest().frames())),
                                 HasSubstr("mels        40, float32"), HasSubstr("speakers    5, of "),
                                 HasSubstr("9 unlabelled"), HasSubstr("###")));
  for (const auto& [name, ranges] : dataset->manifest().splits) {
    EXPECT_THAT(outcome.out, HasSubstr(name));
    EXPECT_THAT(outcome.out, HasSubstr(std::to_string(CountIndexes(ranges)) + " utterances"));
  }
}

TEST(Mels, CheckNamesEveryDamage) {
  const TemporaryFolder folder;
  const SmallDataset source = SeveralShards();
  source.Write(folder.path());
  const Outcome sound = RunMels({"check", folder.path()});
  EXPECT_EQ(sound.code, 0) << sound.err;
  EXPECT_THAT(sound.out, HasSubstr("is sound"));

  // One value of the third utterance, the lowest bit: finite, and only the checksum can tell.
  const Manifest manifest = OpenOrDie(folder.path())->manifest();
  std::string first = ReadBytes(folder.path("shard-00000.h5"));
  const int64_t frame = source.Frames(0) + source.Frames(1) + 5;
  first[static_cast<size_t>(manifest.shards[0].frames_offset + frame * 160)] ^= 1;
  WriteBytes(folder.path("shard-00000.h5"), first);
  const std::string second = ReadBytes(folder.path("shard-00001.h5"));
  WriteBytes(folder.path("shard-00001.h5"), second.substr(0, second.size() / 2));

  const Outcome damaged = RunMels({"check", folder.path()});
  EXPECT_EQ(damaged.code, 2);
  EXPECT_THAT(damaged.err, AllOf(HasSubstr("shard-00000.h5, utterance '" + source.Name(2) + "'"),
                                 HasSubstr("shard-00001.h5 is truncated"), HasSubstr("damaged in 2 places"),
                                 Not(HasSubstr("shard-00002"))));
}

// Waits until a shard is written, so that the signal comes in the middle.
void AwaitFile(const std::string& path) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(500);
  while (!std::filesystem::exists(path)) {
    if (std::chrono::steady_clock::now() > deadline) throw std::runtime_error("no " + path);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

TEST(Mels, InterruptedItLeavesNothingCompleteAndSaysHowToGoOn) {
  for (const int signal : {SIGINT, SIGTERM, SIGKILL}) {
    const TemporaryFolder folder;
    Mels mels({"synth", folder.path("set"), "--utterances", "1000000", "--shard-mib", "4"});
    AwaitFile(folder.path("set/shard-00001.h5"));
    mels.Signal(signal);
    const Outcome outcome = mels.Wait();
    EXPECT_FALSE(std::filesystem::exists(folder.path("set/dataset.json")));
    EXPECT_FALSE(Dataset::Open(folder.path("set")).ok());
    if (signal == SIGKILL) {
      EXPECT_EQ(outcome.code, -SIGKILL);
    } else {
      EXPECT_EQ(outcome.code, 128 + signal);
      EXPECT_THAT(outcome.err, HasSubstr("run the same command again"));
      EXPECT_TRUE(std::filesystem::is_empty(folder.path("set")));
    }
    // The next run needs no --force and clears away what is left.
    EXPECT_EQ(RunMels(SynthArguments(folder.path("set"))).code, 0);
    EXPECT_EQ(OpenOrDie(folder.path("set"))->size(), 40);
    EXPECT_FALSE(std::filesystem::exists(folder.path("set/shard-00001.h5")));
    EXPECT_FALSE(std::filesystem::exists(folder.path("set/dataset.json.unfinished")));
  }
}

// What the files of a folder hold, by name.
std::map<std::string, std::string> Contents(const std::string& folder) {
  std::map<std::string, std::string> contents;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    contents[entry.path().filename().string()] = ReadBytes(entry.path().string());
  return contents;
}

TEST(Mels, ADataSetThatLostItsManifestIsKeptUnlessForced) {
  const TemporaryFolder folder;
  SeveralShards().Write(folder.path());
  std::filesystem::remove(folder.path("dataset.json"));
  const auto before = Contents(folder.path());
  ASSERT_GT(before.size(), 2U);
  ExpectRefused(SynthArguments(folder.path()),
                folder.path("shard-00000.h5") +
                    " belongs to a data set that has lost its "
                    "dataset.json: choose another folder, or give it up with --force");
  EXPECT_EQ(Contents(folder.path()), before);
  EXPECT_EQ(RunMels(SynthArguments(folder.path(), {"--force"})).code, 0);
  EXPECT_EQ(Contents(folder.path()).size(), 2U);
  EXPECT_EQ(OpenOrDie(folder.path())->size(), 40);
}

// An HDF5 file without our user block, one that quotes it, and a file that is blank.
TEST(Mels, FilesOfOthersAreNeverRemoved) {
  const std::string foreign_bytes[] = {"\x89HDF\r\n\x1a\n" + std::string(8000, 'x'),
                                       "{\"format\":\"mel-shard\"}\n" + std::string(8000, 'x'),
                                       std::string(8000, '\0'), ""};
  for (const bool marked : {false, true}) {
    for (const std::string& bytes : foreign_bytes) {
      const TemporaryFolder folder;
      if (marked) WriteBytes(folder.path("dataset.json.unfinished"), "");
      WriteBytes(folder.path("shard-00003.h5"), bytes);
      WriteBytes(folder.path("notes.txt"), "mine");
      const auto before = Contents(folder.path());
      for (const std::vector<std::string>& more : {std::vector<std::string>{}, {"--force"}}) {
        ExpectRefused(SynthArguments(folder.path(), more),
                      folder.path("shard-00003.h5") + " is in the way, and no shard that mels wrote");
        EXPECT_EQ(Contents(folder.path()), before);
      }
    }
  }
  // Under names that no writer takes they may stay, even with the bytes of a shard.
  const TemporaryFolder folder;
  SmallDataset().Write(folder.path("set"));
  const std::string shard = ReadBytes(folder.path("set/shard-00000.h5"));
  for (const char* name : {"shard-old.h5", "shard-1.h5", "shard-000001.h5", "shard-00001.bak.h5.tmp"}) {
    const std::string path = folder.path(std::string("set/") + name);
    WriteBytes(path, shard);
    ExpectRefused({"synth", folder.path("set")}, "already holds a data set");
    std::filesystem::rename(folder.path("set/dataset.json"), folder.path("dataset.json"));
    std::filesystem::rename(folder.path("set/shard-00000.h5"), folder.path("shard"));
    ExpectRefused(SynthArguments(folder.path("set")), path + " would lie among the shards");
    std::filesystem::rename(folder.path("dataset.json"), folder.path("set/dataset.json"));
    std::filesystem::rename(folder.path("shard"), folder.path("set/shard-00000.h5"));
    EXPECT_EQ(RunMels(SynthArguments(folder.path("set"), {"--force"})).code, 0);
    EXPECT_EQ(ReadBytes(path), shard);
    std::filesystem::remove(path);
  }
}

TEST(Mels, LeftoversOfAKilledRunGoWhateverTheirState) {
  const TemporaryFolder folder;
  SeveralShards().Write(folder.path());
  // As after a kill amid the third shard: the mark instead of the manifest, and a place without its content.
  std::filesystem::rename(folder.path("dataset.json"), folder.path("dataset.json.unfinished"));
  WriteBytes(folder.path("shard-00002.h5.tmp"), std::string(100000, '\0'));
  WriteBytes(folder.path("shard-00003.h5.tmp"), "");
  EXPECT_EQ(RunMels(SynthArguments(folder.path())).code, 0);
  EXPECT_EQ(Contents(folder.path()).size(), 2U);
  EXPECT_EQ(OpenOrDie(folder.path())->size(), 40);

  WriteBytes(folder.path("shard-00003.h5.tmp"), std::string(100000, '\0'));
  ExpectRefused(SynthArguments(folder.path(), {"--force"}), "shard-00003.h5.tmp is in the way");
}

TEST(Mels, AFullDiskIsOneClearLine) {
  const TemporaryFolder folder;
  if (mount("tmpfs", folder.path().c_str(), "tmpfs", 0, "size=8m") != 0) {
    GTEST_SKIP() << "cannot mount a small tmpfs here: " << std::strerror(errno);
  }
  const Outcome outcome = RunMels({"synth", folder.path("set"), "--utterances", "500", "--shard-mib", "3"});
  EXPECT_EQ(outcome.code, 1);
  const std::string complaint = Complaint(outcome);
  EXPECT_THAT(complaint, AllOf(HasSubstr(folder.path("set")), HasSubstr("No space left")));
  EXPECT_EQ(std::count(complaint.begin(), complaint.end(), '\n'), 1) << complaint;
  EXPECT_FALSE(std::filesystem::exists(folder.path("set/dataset.json")));
  EXPECT_EQ(umount(folder.path().c_str()), 0);
}

}  // namespace
}  // namespace data
