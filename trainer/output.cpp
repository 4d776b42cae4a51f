#include "trainer/output.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "data/output_file.h"

namespace trainer {
namespace {

namespace fs = std::filesystem;

absl::Status CheckWritable(const std::string& folder, const std::string& option) {
  if (access(folder.c_str(), W_OK | X_OK) == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(option, ": cannot write to ", folder, ": ",
                                                 std::strerror(errno), "; choose another folder"));
}

}  // namespace

absl::Status CheckOutputFile(const std::string& path, const std::string& option) {
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) {
    return absl::InvalidArgumentError(absl::StrCat(option, ": ", path, " is a folder; name a file"));
  }
  // A pipe, a device or standard output is written into; nothing is made beside it.
  if (data::IsStandardOutput(path)) return absl::OkStatus();
  if (fs::exists(path, ignored) && !fs::is_regular_file(path, ignored)) {
    if (access(path.c_str(), W_OK) == 0) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat(option, ": cannot write to ", path, ": ", std::strerror(errno)));
  }
  const fs::path parent = fs::path(data::OutputTarget(path)).parent_path();
  const std::string folder = parent.empty() ? "." : parent.string();
  if (!fs::is_directory(folder, ignored)) {
    return absl::InvalidArgumentError(absl::StrCat(
        option, ": ", path, " cannot be written: there is no folder ", folder, "; make it first"));
  }
  return CheckWritable(folder, option);
}

absl::Status MakeOutputFolder(const std::string& path, const std::string& option) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error || !fs::is_directory(path, error)) {
    return absl::InvalidArgumentError(absl::StrCat(option, ": cannot make the folder ", path, ": ",
                                                   error ? error.message() : "a file of that name is there",
                                                   "; choose another folder"));
  }
  return CheckWritable(path, option);
}

std::string PlotTitle(const std::string& what, const std::string& source, const std::string& checkpoint) {
  constexpr size_t kLongest = 48;
  std::string name = checkpoint;
  if (name.size() > kLongest) name = absl::StrCat("...", name.substr(name.size() - kLongest));
  return absl::StrCat(what, " of ", source, ", ", name);
}

std::string JsonLine(const nlohmann::ordered_json& object) {
  return object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

void PrintJsonLine(const nlohmann::ordered_json& object) { std::printf("%s\n", JsonLine(object).c_str()); }

}  // namespace trainer
