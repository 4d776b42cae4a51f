#pragma once

// `launcher [its own options] [mpirun's options] [--] PROGRAM [ARGUMENT...]`, taken apart.

#include <string>
#include <string_view>
#include <vector>

namespace launcher::tool {

struct CommandLine {
  std::vector<std::string> own;      // as --name=value or --name, whichever way they were written
  std::vector<std::string> mpirun;   // handed on as they are
  std::vector<std::string> program;  // with its arguments; empty where there is none
};

// `words` without the launcher's own name. The program is the first word that is neither an option nor an
// option's value, or what follows a word "--". Which of mpirun's options take values is known for Open MPI's;
// an option that is not known is taken to have none.
CommandLine SplitCommandLine(const std::vector<std::string>& words);

// Whether `mpirun_words` settle what each rank is bound to. (So may the environment.)
bool SettlesBinding(const std::vector<std::string>& mpirun_words);

// The value of mpirun's option with one of the `names` (without dashes); empty where it is not there.
std::string ValueOf(const std::vector<std::string>& mpirun_words, const std::vector<std::string_view>& names);

// The same words without these options and their values.
std::vector<std::string> Without(const std::vector<std::string>& mpirun_words,
                                 const std::vector<std::string_view>& names);

}  // namespace launcher::tool
