#pragma once

// What mpirun and the ranks wrote to standard error, read for what matters afterwards: who failed.

#include <string>
#include <string_view>

namespace launcher::tool {

// "rank 1 on node7, signal 9 (Killed)", "rank 1", "host node7 is lost", as Open MPI names it, with the last
// line that a rank itself wrote; empty where nothing was said. At most some 300 characters, one line.
std::string FindCulprit(std::string_view standard_error);

}  // namespace launcher::tool
