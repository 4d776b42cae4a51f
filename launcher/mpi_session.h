#pragma once

// Processes -> a world: MPI for the lifetime of an object, who this process is, and the way out when all is
// lost.
//
//   int main(int argc, char** argv) {
//     launcher::MpiSession session(&argc, &argv);
//     try {
//       const launcher::World world = launcher::World::FromMpi();
//       return Run(world);                       // every object that talks to other ranks lives and dies in
//       here
//     } catch (const std::exception& error) {    // a bug, a dead peer: the others must not wait for this
//     rank
//       launcher::AbortWorld(error.what(), 1);
//     }
//   }

#include <string>

namespace launcher {

// MPI_Init_thread(MPI_THREAD_MULTIPLE) to MPI_Finalize, which waits for all ranks. One a process, made and
// destroyed by the main thread. Started without mpirun the process is a world of one. MPI's errors are
// returned (and checked), not fatal. Throws Error where MPI does not come up or grants less than
// MPI_THREAD_MULTIPLE.
//
// Sets two of Open MPI's parameters unless the environment already has them: orte_execute_quiet=1, without
// which MPI_Abort adds a banner of seven lines to the one line of AbortWorld() (set
// OMPI_MCA_orte_execute_quiet=0 to see all of Open MPI's help texts), and mpi_yield_when_idle=1, so that a
// rank that waits inside MPI gives its core away.
//
// Left by an exception it does not finalize, because the other ranks may be waiting elsewhere: mpirun then
// ends them.
class MpiSession {
 public:
  MpiSession(int* argc, char*** argv);
  ~MpiSession();
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;

 private:
  int exceptions_at_start_;
};

// Who this process is. A plain value: one may be written by hand in a test.
struct World {
  int rank = 0;        // 0 .. size-1
  int size = 1;        // processes in all
  int local_rank = 0;  // among those that share this host's memory, in the order of their ranks
  int local_size = 1;  // processes on this host
  std::string host;    // name of this host

  // Collective. Throws Error where there is no MpiSession.
  static World FromMpi();
};

// For what one rank alone runs into and cannot go on from (a bug, an exception, a peer that is gone): writes
// "rank R on HOST: <line>" to stderr (nothing where `line` is empty), then ends every process of the world by
// MPI_Abort, so that mpirun exits with `exit_code` (1..255). No destructors run. Any thread may call it.
//
// What all ranks know of (see AgreeOn) may simply be returned from main(); mpirun then adds a banner of its
// own about the exit code, which `mpirun -q` or AbortWorld("", code) avoids.
[[noreturn]] void AbortWorld(const std::string& line, int exit_code);

namespace internal {
// The same without a word, and without flushing files, for which it might wait for a thread that is stuck.
[[noreturn]] void EndWorld(int exit_code);
}  // namespace internal

}  // namespace launcher
