#pragma once

// How many of a host's CPUs are one rank's: the arithmetic behind CoreShare(), apart from MPI.

#include <string>
#include <vector>

namespace launcher::internal {

// Numbers of the CPUs that the calling thread may run on, ascending. Throws Error where the system does not
// say.
std::vector<int> AffinityCpus();

// "0,1,5" and back.
std::string EncodeCpus(const std::vector<int>& cpus);
std::vector<int> DecodeCpus(const std::string& text);

// The sum over `own` of 1 / (how many of `ranks`, own included, may use that CPU), at most `limit` / ranks
// where limit > 0; rounded down, at least 1.
int ShareOfCpus(const std::vector<int>& own, const std::vector<std::vector<int>>& ranks, double limit);

// The tightest CPU quota of a process' control group and those above it, in CPUs; 0 where none is set.
// `mount`: where the hierarchy is mounted; `membership`: the file that names the process' group
// (/proc/self/cgroup). Version 2 and 1.
double CgroupCpuLimitUnder(const std::string& mount, const std::string& membership);

}  // namespace launcher::internal
