// Checkpoints under kill -9, full disks and folders that cannot be written to.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <iostream>
#include <random>

#include "tests/trainer/checkpoint/temporary_folder.h"
#include "trainer/checkpoint/checkpoint_store.h"

namespace trainer::checkpoint {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// All three files tell `value`, so that a mixture of two snapshots would show.
Snapshot MakeNumbers(int64_t value, int64_t numbers = 64) {
  Snapshot snapshot;
  snapshot.model = {{"weight", torch::full({numbers}, value, torch::kLong)}};
  snapshot.optimizer = {{"exp_avg", torch::full({numbers}, value, torch::kLong)}};
  snapshot.state = {{"value", value}};
  return snapshot;
}

// The value that all files of the snapshot agree on.
int64_t ValueOf(const Snapshot& snapshot) {
  const int64_t value = snapshot.state.at("value");
  for (const NamedTensors* tensors : {&snapshot.model, &snapshot.optimizer}) {
    EXPECT_EQ(tensors->size(), 1);
    EXPECT_TRUE(torch::equal(tensors->at(0).second, torch::full_like(tensors->at(0).second, value)));
  }
  return value;
}

std::vector<std::string> Temporaries(const fs::path& run) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(run / "checkpoints")) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(".tmp-")) names.push_back(name);
  }
  return names;
}

struct Report {
  int64_t step;
  int64_t value;
  bool is_best;
};

// Saves until it is killed: each step twice with other content, so that folders are replaced as well as made.
[[noreturn]] void SaveForever(const std::string& run, int64_t step, int report_fd) {
  CheckpointStore store(run, 2);
  for (int64_t value = step * 10;; ++step, value = step * 10) {
    for (; value < step * 10 + 2; ++value) {
      const Report report{step, value, step % 3 == 0};
      if (!store.Save(step, MakeNumbers(value), report.is_best).ok()) ::_exit(1);
      if (::write(report_fd, &report, sizeof report) != sizeof report) ::_exit(2);
    }
  }
}

TEST(CheckpointFaults, KilledAtAnyMomentNothingSavedIsLost) {
  const TemporaryFolder folder;
  const std::string run = folder / "run";
  const uint64_t seed = std::random_device{}();
  std::cout << "seed " << seed << "\n";
  std::mt19937_64 random(seed);
  CheckpointStore store(run, 2);
  // Kills come at any moment of the first few saves, however long one takes here.
  const auto start = std::chrono::steady_clock::now();
  for (int64_t value : {10, 11}) ASSERT_TRUE(store.Save(1, MakeNumbers(value), true).ok());
  const std::chrono::microseconds save_time =
      std::chrono::duration_cast<std::chrono::microseconds>((std::chrono::steady_clock::now() - start) / 2);
  std::uniform_int_distribution<useconds_t> delay(0, static_cast<useconds_t>(4 * save_time.count()));
  Report last{1, 11, true};
  int64_t best_step = 1;
  int interrupted = 0;
  constexpr int kKills = 100;
  int kill = 0;
  // More where saves have become slower, or faster, than those two were.
  const auto hit_little = [&] { return last.step <= 20 || interrupted <= 10; };
  for (; kill < kKills || (kill < 20 * kKills && hit_little()); ++kill) {
    int ends[2];
    ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) SaveForever(run, last.step + 1, ends[1]);
    ::close(ends[1]);
    ::usleep(delay(random));
    ASSERT_EQ(::kill(child, SIGKILL), 0);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << "saving failed with status " << WEXITSTATUS(status);
    for (Report report{}; ::read(ends[0], &report, sizeof report) == sizeof report;) {
      last = report;
      if (report.is_best) best_step = report.step;
    }
    ::close(ends[0]);

    interrupted += Temporaries(run).empty() ? 0 : 1;
    // As it was left, and as a resuming run finds it.
    absl::StatusOr<Snapshot> linked = CheckpointStore::Load(run + "/checkpoints/last", true);
    ASSERT_TRUE(linked.ok()) << linked.status();
    ASSERT_GE(ValueOf(*linked), last.value);
    ASSERT_TRUE(store.FinishInterrupted().ok());
    std::vector<std::string> warnings;
    absl::StatusOr<std::optional<LoadedCheckpoint>> loaded = store.LoadLatest(&warnings);
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    ASSERT_THAT(warnings, IsEmpty()) << "a checkpoint is complete or not there";
    ASSERT_TRUE(loaded->has_value());
    // The save that was under way may have come through, and is at most one further.
    const int64_t value = ValueOf((*loaded)->snapshot);
    ASSERT_GE(value, last.value);
    ASSERT_LE((*loaded)->step, last.step + 1);
    ASSERT_EQ(value / 10, (*loaded)->step);
    if ((*loaded)->step % 3 == 0) best_step = (*loaded)->step;
    ASSERT_EQ(fs::read_symlink(run + "/checkpoints/last"), fs::path((*loaded)->folder).filename());
    absl::StatusOr<Snapshot> best = CheckpointStore::Load(run + "/checkpoints/best", true);
    ASSERT_TRUE(best.ok()) << best.status();
    ASSERT_EQ(best->state["step"], best_step);
    last.step = (*loaded)->step;
    last.value = value;
  }
  EXPECT_GT(last.step, 20) << "hardly anything was saved: the test tested little";
  EXPECT_GT(interrupted, 10) << "hardly any save was interrupted: the test tested little";
  std::cout << last.step << " steps saved, " << interrupted << " of " << kill << " kills hit a save\n";
}

TEST(CheckpointFaults, WhatIsInTheWayIsNamed) {
  const TemporaryFolder folder;
  WriteBytes(folder / "file", "");
  for (const std::string& run : {folder / "file", folder / "file/run"}) {
    const absl::Status status = CheckpointStore(run, 2).Save(1, MakeNumbers(1), false);
    ASSERT_FALSE(status.ok());
    EXPECT_THAT(std::string(status.message()), HasSubstr("checkpoint of step 1 not saved: "));
    EXPECT_THAT(std::string(status.message()), HasSubstr(folder / "file"));
  }
  EXPECT_EQ(CheckpointStore(folder / "file", 2).Steps()->size(), 0);

  CheckpointStore store(folder / "run", 2);
  ASSERT_TRUE(store.Save(1, MakeNumbers(1), false).ok());
  fs::create_directories(folder / "run/checkpoints/best/in-the-way");
  const absl::Status status = store.Save(2, MakeNumbers(2), true);
  EXPECT_THAT(std::string(status.message()), HasSubstr("checkpoints/best"));
  WriteBytes(folder / "run/checkpoints/step-00000003", "a file");
  EXPECT_THAT(std::string(store.Save(3, MakeNumbers(3), false).message()), HasSubstr("step-00000003"));
  EXPECT_EQ((*store.LoadLatest(nullptr))->step, 2);
  EXPECT_THAT(Temporaries(folder / "run"), IsEmpty());
}

// A limit on the size of files is a full disk that needs no rights to set up. In a child, since limits stay.
TEST(CheckpointFaults, AFileThatCannotGrowLeavesTheLastCheckpointIntact) {
  const TemporaryFolder folder;
  CheckpointStore store(folder / "run", 2);
  ASSERT_TRUE(store.Save(1, MakeNumbers(1), true).ok());
  EXPECT_EXIT(
      {
        std::signal(SIGXFSZ, SIG_IGN);
        rlimit limit{};
        limit.rlim_cur = limit.rlim_max = 64 << 10;
        if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) ::_exit(3);
        const absl::Status status = store.Save(2, MakeNumbers(2, 100000), true);
        std::cerr << status << "\n";
        ::_exit(status.code() == absl::StatusCode::kResourceExhausted ? 0 : 1);
      },
      ::testing::ExitedWithCode(0), "step 2 not saved: .*model.safetensors.*saved before are intact");
  EXPECT_THAT(Temporaries(folder / "run"), IsEmpty());
  EXPECT_EQ(ValueOf((*store.LoadLatest(nullptr))->snapshot), 1);
  EXPECT_TRUE(CheckpointStore::Load(folder / "run/checkpoints/best", true).ok());
}

// A tmpfs seen by this process alone. Skips the test, with the reason, where mounting is not permitted.
class SmallDisk : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("tmpfs", folder_.path().c_str(), "tmpfs", 0, "size=512k") != 0) {
      GTEST_SKIP() << "a small tmpfs cannot be mounted here: " << std::strerror(errno);
    }
    mounted_ = true;
  }
  void TearDown() override {
    if (!mounted_) return;
    EXPECT_EQ(::umount(folder_.path().c_str()), 0) << std::strerror(errno);
  }
  // Leaves `bytes` free.
  void FillUpTo(uint64_t bytes) {
    struct statvfs disk {};
    ASSERT_EQ(::statvfs(folder_.path().c_str(), &disk), 0);
    const uint64_t available = disk.f_bavail * disk.f_bsize;
    ASSERT_GE(available, bytes);
    WriteBytes(folder_ / "filler", std::string(available - bytes, 'x'));
  }

  TemporaryFolder folder_;
  bool mounted_ = false;
};

TEST_F(SmallDisk, FullAtAnyPointOfASave) {
  CheckpointStore store(folder_ / "run", 1);
  constexpr int64_t kNumbers = 2000;  // four pages a file
  int64_t saved = 1;
  ASSERT_TRUE(store.Save(saved, MakeNumbers(saved, kNumbers), true).ok());
  int refused = 0;
  int accepted = 0;
  for (uint64_t pages = 0; pages < 16; ++pages) {
    ASSERT_NO_FATAL_FAILURE(FillUpTo(pages * 4096));
    const int64_t step = static_cast<int64_t>(pages) + 2;
    const absl::Status status = store.Save(step, MakeNumbers(step, kNumbers), false);
    if (status.ok()) {
      saved = step;
      ++accepted;
    } else {
      ++refused;
      EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
      EXPECT_THAT(std::string(status.message()), HasSubstr(folder_ / "run/checkpoints/"));
      EXPECT_THAT(std::string(status.message()), HasSubstr("the checkpoints saved before are intact"));
    }
    EXPECT_THAT(Temporaries(folder_ / "run"), IsEmpty());
    std::vector<std::string> warnings;
    absl::StatusOr<std::optional<LoadedCheckpoint>> loaded = store.LoadLatest(&warnings);
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_EQ(ValueOf((*loaded)->snapshot), saved);
    EXPECT_THAT(warnings, IsEmpty());
    EXPECT_TRUE(CheckpointStore::Load(folder_ / "run/checkpoints/last", true).ok());
    EXPECT_TRUE(CheckpointStore::Load(folder_ / "run/checkpoints/best", true).ok());
    fs::remove(folder_ / "filler");
  }
  EXPECT_GT(refused, 3);
  EXPECT_GT(accepted, 0);
}

TEST_F(SmallDisk, ReadOnly) {
  CheckpointStore store(folder_ / "run", 2);
  ASSERT_TRUE(store.Save(1, MakeNumbers(1), true).ok());
  ASSERT_EQ(::mount(nullptr, folder_.path().c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr), 0);
  const absl::Status status = store.Save(2, MakeNumbers(2), true);
  EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied);
  EXPECT_THAT(std::string(status.message()), HasSubstr("Read-only file system"));
  EXPECT_EQ(ValueOf((*store.LoadLatest(nullptr))->snapshot), 1);
  ASSERT_EQ(::mount(nullptr, folder_.path().c_str(), nullptr, MS_REMOUNT, nullptr), 0);
}

}  // namespace
}  // namespace trainer::checkpoint
