#include "launcher/tool/command_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace launcher::tool {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(CommandLineTest, OwnOptionsInEverySpelling) {
  const auto line = SplitCommandLine({"-np", "8", "--hostfile=hosts", "-n", "4", "--max-restarts", "0",
                                      "-machinefile", "other", "--help", "trainer"});
  EXPECT_THAT(line.own, ElementsAre("--np=8", "--hostfile=hosts", "--np=4", "--max-restarts=0",
                                    "--hostfile=other", "--help"));
  EXPECT_THAT(line.mpirun, IsEmpty());
  EXPECT_THAT(line.program, ElementsAre("trainer"));
}

TEST(CommandLineTest, MpirunsOptionsKeepTheirValuesAndOrder) {
  const auto line =
      SplitCommandLine({"--mca", "btl", "tcp,self", "-np", "2", "-x", "PATH", "--tag-output", "--map-by",
                        "node", "trainer", "--config", "simple.yaml", "-np", "--", "x"});
  EXPECT_THAT(line.own, ElementsAre("--np=2"));
  EXPECT_THAT(line.mpirun,
              ElementsAre("--mca", "btl", "tcp,self", "-x", "PATH", "--tag-output", "--map-by", "node"));
  EXPECT_THAT(line.program, ElementsAre("trainer", "--config", "simple.yaml", "-np", "--", "x"));
}

TEST(CommandLineTest, TwoDashesEndTheOptions) {
  const auto line = SplitCommandLine({"-np", "2", "--unheard-of", "--", "-odd-program", "a"});
  EXPECT_THAT(line.mpirun, ElementsAre("--unheard-of"));
  EXPECT_THAT(line.program, ElementsAre("-odd-program", "a"));
}

TEST(CommandLineTest, WhatIsMissingIsMissing) {
  EXPECT_THAT(SplitCommandLine({}).program, IsEmpty());
  EXPECT_THAT(SplitCommandLine({"-np", "2"}).program, IsEmpty());
  EXPECT_THAT(SplitCommandLine({"-np", "2", "--"}).program, IsEmpty());
  EXPECT_THAT(SplitCommandLine({"-np"}).own, ElementsAre("--np"));
  EXPECT_THAT(SplitCommandLine({"--mca", "btl"}).mpirun, ElementsAre("--mca", "btl"));
}

TEST(CommandLineTest, ANegativeNumberIsAValue) {
  EXPECT_THAT(SplitCommandLine({"-np", "-1", "trainer"}).own, ElementsAre("--np=-1"));
}

TEST(BindingTest, IsSettledByMpirunsOptions) {
  for (const std::vector<std::string>& words :
       std::vector<std::vector<std::string>>{{"--bind-to", "core"},
                                             {"-bind-to-core"},
                                             {"--mca", "hwloc_base_binding_policy", "core"},
                                             {"--map-by", "slot:PE=4"},
                                             {"--tag-output", "--cpu-set", "0,1"},
                                             {"-rf", "ranks"}}) {
    EXPECT_TRUE(SettlesBinding(words)) << words.front();
  }
  EXPECT_FALSE(SettlesBinding({}));
  EXPECT_FALSE(SettlesBinding({"--report-bindings", "--map-by", "node", "-x", "bind-to"}));
}

TEST(ValueOfTest, FindsTheLast) {
  const std::vector<std::string> words = {"-x", "host", "--host", "a:2", "--wdir", "/tmp", "-H", "b"};
  EXPECT_EQ(ValueOf(words, {"host", "H"}), "b");
  EXPECT_EQ(ValueOf(words, {"wd", "wdir"}), "/tmp");
  EXPECT_EQ(ValueOf(words, {"prefix"}), "");
  EXPECT_EQ(ValueOf({"--host"}, {"host"}), "");
  EXPECT_THAT(Without(words, {"host", "H"}), ElementsAre("-x", "host", "--wdir", "/tmp"));
}

}  // namespace
}  // namespace launcher::tool
