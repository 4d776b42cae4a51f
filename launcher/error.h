#pragma once

// What every call into MPI, CUDA and NCCL goes through: a failure becomes one line that says which call
// failed, where in the source, on which rank and host, why, and what to try. Such a failure is not the user's
// input: it is thrown as launcher::Error, which the program catches once, at its outer edge, to call
// AbortWorld().

#include <stdexcept>
#include <string>

namespace launcher {

// A call of MPI, CUDA or NCCL that failed, or a wrong use of this library.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

namespace internal {

// "rank 3 on node7", or "rank ?" before MPI is up. Set once by MpiSession, constant afterwards: any thread.
std::string ProcessLabel();
void SetProcessLabel(int rank, const std::string& host);

// Throws Error: "<what> at <file>:<line>, <process label>: <why>. <hint>".
[[noreturn]] void Fail(const char* what, const char* file, int line, const std::string& why,
                       const std::string& hint);

// Returns where `code` is MPI_SUCCESS, else throws.
void CheckMpi(int code, const char* expression, const char* file, int line, const char* hint);

}  // namespace internal
}  // namespace launcher

// LAUNCHER_MPI(MPI_Comm_dup(...), "hint for the reader of the log");
#define LAUNCHER_MPI(expression, hint) \
  ::launcher::internal::CheckMpi((expression), #expression, __FILE__, __LINE__, (hint))

// For wrong uses of this library (bugs, not input).
#define LAUNCHER_REQUIRE(condition, hint)                                                                 \
  do {                                                                                                    \
    if (!(condition)) {                                                                                   \
      ::launcher::internal::Fail(#condition, __FILE__, __LINE__, "this must hold, but does not", (hint)); \
    }                                                                                                     \
  } while (false)
