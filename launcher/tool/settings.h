#pragma once

#include <string>
#include <vector>

namespace launcher::tool {

// What the command line asks for, checked.
struct Settings {
  std::string mpirun;                     // its path
  std::vector<std::string> mpirun_words;  // options that are handed on to it
  std::vector<std::string> program;       // what each rank runs; never empty
  std::string folder;                     // that the ranks run in (mpirun's --wdir); empty: this one
  std::string hostfile;                   // empty: none
  int ranks = 0;
  int least_ranks = 0;  // 0: always `ranks`
  int max_restarts = 3;
  double backoff_seconds = 5;
};

}  // namespace launcher::tool
