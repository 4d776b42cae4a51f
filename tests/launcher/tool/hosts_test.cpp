#include "launcher/tool/hosts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace launcher::tool {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr char kFile[] =
    "# the cluster\n"
    "node1 slots=4\n"
    "  ann@node2\tslots=2 max_slots=4 # half of it\n"
    "\n"
    "#node3 slots=4\n"
    "node1 slots=1\n"
    "10.0.0.7";

TEST(HostsTest, AreFoundInAHostfile) {
  EXPECT_THAT(HostsInFile(kFile), ElementsAre("node1", "node2", "10.0.0.7"));
  EXPECT_THAT(HostsInFile(""), IsEmpty());
  EXPECT_THAT(HostsInFile("# none\n\n"), IsEmpty());
}

TEST(HostsTest, AreFoundInAList) {
  EXPECT_THAT(HostsInList("node1:8,node2,node1:2"), ElementsAre("node1", "node2"));
  EXPECT_THAT(HostsInList(""), IsEmpty());
}

TEST(HostsTest, LostOnesAreLeftOut) {
  EXPECT_EQ(FileWithout(kFile, {"node1"}),
            "# the cluster\n  ann@node2\tslots=2 max_slots=4 # half of it\n\n#node3 slots=4\n10.0.0.7");
  EXPECT_EQ(FileWithout(kFile, {}), kFile);
  EXPECT_EQ(ListWithout("node1:8,node2,node1:2,node11", {"node1"}), "node2,node11");
  EXPECT_EQ(ListWithout("node1", {"node1"}), "");
}

}  // namespace
}  // namespace launcher::tool
