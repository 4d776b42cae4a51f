#pragma once

// Small collectives by which the ranks talk about the run itself: outcomes, strings, a few numbers.
//
// All are collective over all processes: every rank calls the same ones in the same order, from its main
// thread. A rank that waits sleeps rather than burns its core. They are for bytes to a few megabytes;
// gradients go through Communicator. All throw Error where MPI fails.

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "launcher/mpi_session.h"

namespace launcher {

// One outcome for all ranks: OK if every rank's is OK, otherwise, on every rank, that of the lowest rank that
// failed, its message prefixed "rank R on HOST: " where the world has more than one process.
absl::Status AgreeOn(const World& world, const absl::Status& mine);

// Root's value on every rank. Any bytes, any length.
std::string BroadcastString(const std::string& value, int root);

// Every rank's string in the order of ranks on root, an empty vector on the others.
std::vector<std::string> GatherStrings(const std::string& value, int root);

// Every rank's string, in the order of ranks, on every rank.
std::vector<std::string> AllGatherStrings(const std::string& value);

// Element-wise sums, added up in the order of ranks: the same bits on every rank and in every run. All ranks
// must give vectors of the same length; a mismatch throws on every rank.
std::vector<double> AllReduceSum(const std::vector<double>& values);

// True on every rank where all ranks gave the same value (a hash of the parameters, say).
bool AllEqual(uint64_t value);

// Returns once every rank has called it.
void Barrier();

}  // namespace launcher
