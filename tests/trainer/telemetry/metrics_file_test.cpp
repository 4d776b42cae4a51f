#include "trainer/telemetry/metrics_file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <vector>

namespace trainer::telemetry {
namespace {

namespace fs = std::filesystem;

class MetricsFileTest : public ::testing::Test {
 protected:
  MetricsFileTest() : path_(fs::temp_directory_path() / ("metrics." + std::to_string(getpid()) + ".jsonl")) {}
  ~MetricsFileTest() override { fs::remove(path_); }

  std::vector<int64_t> Steps() const {
    std::vector<int64_t> steps;
    std::ifstream in(path_);
    for (std::string line; std::getline(in, line);) steps.push_back(nlohmann::json::parse(line)["step"]);
    return steps;
  }

  fs::path path_;
};

TEST_F(MetricsFileTest, GoesOnAfterARestartWithoutAStepTwice) {
  {
    auto file = MetricsFile::Open(path_, 0);
    ASSERT_TRUE(file.ok());
    for (int64_t step : {10, 20, 30}) ASSERT_TRUE(file->Append({{"step", step}}).ok());
  }
  std::ofstream(path_, std::ios::app) << "{\"step\": 40, \"lo";  // torn by a kill
  {
    auto file = MetricsFile::Open(path_, 20);
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE(file->Append({{"step", 30}}).ok());
  }
  EXPECT_EQ(Steps(), (std::vector<int64_t>{10, 20, 30}));
}

TEST_F(MetricsFileTest, AFullDiskCostsTheLinesOfThatTimeAlone) {
  auto file = MetricsFile::Open(path_, 0);
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE(file->Append({{"step", 10}}).ok());
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit tight{fs::file_size(path_) + 5, before.rlim_max};  // within the next line
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &tight), 0);
  EXPECT_FALSE(file->Append({{"step", 20}}).ok());
  EXPECT_FALSE(file->Append({{"step", 30}}).ok());
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  EXPECT_TRUE(file->Append({{"step", 40}}).ok());
  EXPECT_EQ(Steps(), (std::vector<int64_t>{10, 40}));
}

TEST_F(MetricsFileTest, AFolderInItsPlaceIsNamed) {
  fs::create_directory(path_);
  const auto file = MetricsFile::Open(path_, 0);
  ASSERT_FALSE(file.ok());
  EXPECT_NE(std::string(file.status().message()).find(path_.string()), std::string::npos);
}

}  // namespace
}  // namespace trainer::telemetry
