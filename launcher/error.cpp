#include "launcher/error.h"

#include <mpi.h>

#include "absl/strings/str_cat.h"

namespace launcher::internal {
namespace {

// Leaked on purpose: threads may still fail while static objects are being destroyed.
std::string& Label() {
  static auto* label = new std::string("rank ?");
  return *label;
}

}  // namespace

std::string ProcessLabel() { return Label(); }

void SetProcessLabel(int rank, const std::string& host) {
  Label() = absl::StrCat("rank ", rank, " on ", host);
}

void Fail(const char* what, const char* file, int line, const std::string& why, const std::string& hint) {
  throw Error(absl::StrCat(what, " at ", file, ":", line, ", ", ProcessLabel(), ": ", why, ". ", hint));
}

void CheckMpi(int code, const char* expression, const char* file, int line, const char* hint) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  const bool named = MPI_Error_string(code, text, &length) == MPI_SUCCESS;
  Fail(expression, file, line, named ? std::string(text, length) : absl::StrCat("MPI error ", code), hint);
}

}  // namespace launcher::internal
