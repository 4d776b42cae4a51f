#include "launcher/mpi_session.h"

#include <mpi.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "launcher/deadline.h"
#include "launcher/error.h"

namespace launcher {
namespace {

constexpr char kStartHint[] =
    "Start with mpirun or srun --mpi=pmix of the MPI that this program was built with";

// setenv that keeps what the user or mpirun has set. Called while the process still has one thread.
void SetDefault(const char* name, const char* value) {
  if (setenv(name, value, /*overwrite=*/0) != 0) {
    internal::Fail("setenv", __FILE__, __LINE__, absl::StrCat("cannot set ", name), "Is memory exhausted?");
  }
}

// An installed tree may bring an Open MPI of its own, whose plugins are not where it was built to look for
// them. Its mpirun says so to the ranks; a program started without mpirun must find out itself.
void FindOwnOpenMpi() {
  std::error_code error;
  const auto prefix = std::filesystem::read_symlink("/proc/self/exe", error).parent_path().parent_path();
  if (error || !std::filesystem::exists(prefix / "bin" / "orterun", error)) return;
  SetDefault("OPAL_PREFIX", prefix.c_str());
  const auto pmix = prefix / "lib" / "pmix";
  if (std::filesystem::exists(pmix, error)) SetDefault("PMIX_PKGLIBDIR", pmix.c_str());
}

std::string HostName() {
  char name[MPI_MAX_PROCESSOR_NAME];
  int length = 0;
  LAUNCHER_MPI(MPI_Get_processor_name(name, &length), "");
  return std::string(name, length);
}

bool Running() {
  int started = 0;
  int finished = 0;
  return MPI_Initialized(&started) == MPI_SUCCESS && MPI_Finalized(&finished) == MPI_SUCCESS && started &&
         !finished;
}

}  // namespace

MpiSession::MpiSession(int* argc, char*** argv) : exceptions_at_start_(std::uncaught_exceptions()) {
  int started = 0;
  LAUNCHER_MPI(MPI_Initialized(&started), kStartHint);
  LAUNCHER_REQUIRE(!started, "Make one MpiSession a process");
  SetDefault("OMPI_MCA_orte_execute_quiet", "1");
  SetDefault("OMPI_MCA_mpi_yield_when_idle", "1");
  FindOwnOpenMpi();

  const Deadline deadline(StartSeconds(), "MPI has not come up");
  int granted = MPI_THREAD_SINGLE;
  LAUNCHER_MPI(MPI_Init_thread(argc, argv, MPI_THREAD_MULTIPLE, &granted), kStartHint);
  LAUNCHER_MPI(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), kStartHint);
  LAUNCHER_MPI(MPI_Comm_set_errhandler(MPI_COMM_SELF, MPI_ERRORS_RETURN), kStartHint);
  int rank = 0;
  LAUNCHER_MPI(MPI_Comm_rank(MPI_COMM_WORLD, &rank), kStartHint);
  internal::SetProcessLabel(rank, HostName());
  if (granted < MPI_THREAD_MULTIPLE) {
    MPI_Finalize();  // no destructor will do it; every rank gets the same answer, so none waits
    internal::Fail(
        "MPI_Init_thread", __FILE__, __LINE__,
        absl::StrCat("asked for MPI_THREAD_MULTIPLE (", MPI_THREAD_MULTIPLE, "), granted ", granted),
        "Use an MPI library that was built with support for threads");
  }
}

MpiSession::~MpiSession() {
  if (std::uncaught_exceptions() > exceptions_at_start_) return;
  const Deadline deadline(StartSeconds(), "MPI has not ended");
  if (const int code = MPI_Finalize(); code != MPI_SUCCESS) {
    std::fprintf(stderr, "%s: MPI_Finalize failed with MPI error %d\n", internal::ProcessLabel().c_str(),
                 code);
  }
}

World World::FromMpi() {
  LAUNCHER_REQUIRE(Running(), "A World exists only while an MpiSession does");
  const Deadline deadline(StartSeconds(), "MPI has not come up");
  World world;
  LAUNCHER_MPI(MPI_Comm_rank(MPI_COMM_WORLD, &world.rank), kStartHint);
  LAUNCHER_MPI(MPI_Comm_size(MPI_COMM_WORLD, &world.size), kStartHint);
  MPI_Comm host = MPI_COMM_NULL;
  LAUNCHER_MPI(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, world.rank, MPI_INFO_NULL, &host),
               kStartHint);
  LAUNCHER_MPI(MPI_Comm_rank(host, &world.local_rank), kStartHint);
  LAUNCHER_MPI(MPI_Comm_size(host, &world.local_size), kStartHint);
  LAUNCHER_MPI(MPI_Comm_free(&host), kStartHint);
  world.host = HostName();
  return world;
}

void AbortWorld(const std::string& line, int exit_code) {
  if (!line.empty()) {
    // One write, so that the lines of several ranks do not mix.
    const std::string text = absl::StrCat(internal::ProcessLabel(), ": ", line, "\n");
    std::fwrite(text.data(), 1, text.size(), stderr);
  }
  std::fflush(nullptr);
  internal::EndWorld(exit_code);
}

void internal::EndWorld(int exit_code) {
  if (Running()) MPI_Abort(MPI_COMM_WORLD, exit_code);
  std::_Exit(exit_code);
}

}  // namespace launcher
