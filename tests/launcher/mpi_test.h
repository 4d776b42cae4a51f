#pragma once

// What tests under mpirun share: mpi_test_main.cpp starts MPI, runs the tests on every rank, and exits
// non-zero on all of them if any failed anywhere. Where a rank fails by an exception the whole job is ended,
// so the others do not wait.

#include "launcher/mpi_session.h"

namespace launcher::testing {

// The world that the tests run in.
const World& TestWorld();

}  // namespace launcher::testing
