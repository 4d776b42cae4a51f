#include <gtest/gtest.h>

#include <cstdio>
#include <exception>

#include "absl/status/status.h"
#include "launcher/control.h"
#include "launcher/mpi_session.h"
#include "tests/launcher/mpi_test.h"

namespace launcher::testing {
namespace {

const World* test_world = nullptr;

// Rank 0 reports as ever; the others only what failed.
class FailuresOnly : public ::testing::EmptyTestEventListener {
  void OnTestPartResult(const ::testing::TestPartResult& result) override {
    if (!result.failed()) return;
    const char* file = result.file_name() == nullptr ? "?" : result.file_name();
    std::fprintf(stderr, "rank %d: %s:%d: %s\n", test_world->rank, file, result.line_number(),
                 result.message());
  }
};

}  // namespace

const World& TestWorld() { return *test_world; }

}  // namespace launcher::testing

int main(int argc, char** argv) {
  launcher::MpiSession session(&argc, &argv);
  ::testing::InitGoogleTest(&argc, argv);
  // An exception must not end one rank's test and leave the others waiting for it.
  GTEST_FLAG_SET(catch_exceptions, false);
  try {
    const launcher::World world = launcher::World::FromMpi();
    launcher::testing::test_world = &world;
    if (world.rank != 0) {
      auto& listeners = ::testing::UnitTest::GetInstance()->listeners();
      delete listeners.Release(listeners.default_result_printer());
      listeners.Append(new launcher::testing::FailuresOnly);
    }
    const bool passed = RUN_ALL_TESTS() == 0;
    const absl::Status all =
        launcher::AgreeOn(world, passed ? absl::OkStatus() : absl::InternalError("has failed tests"));
    if (!all.ok() && world.rank == 0) std::fprintf(stderr, "%s\n", std::string(all.message()).c_str());
    return all.ok() ? 0 : 1;
  } catch (const std::exception& error) {
    launcher::AbortWorld(error.what(), 1);
  }
}
