// Where configuration files are looked for.

#include <algorithm>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "trainer/config/config.h"

namespace trainer::config {

namespace fs = std::filesystem;

absl::StatusOr<std::string> FindConfigFile(const std::string& name, const std::string& executable) {
  if (name.empty())
    return absl::InvalidArgumentError("--config: names no file; give e.g. --config simple.yaml");
  std::error_code ignored;  // what cannot be looked at is not there
  if (fs::exists(name, ignored)) return name;
  if (name.find('/') != std::string::npos) {
    return absl::NotFoundError(absl::StrCat(name, ": no such configuration file; check the path"));
  }
  std::vector<fs::path> folders;
  if (!executable.empty()) {
    const fs::path bin = fs::path(executable).parent_path();
    folders = {bin / "configs", (bin / "../share/trainer/configs").lexically_normal()};
  }
  std::vector<std::string> there;
  for (const fs::path& folder : folders) {
    if (fs::exists(folder / name, ignored)) return (folder / name).string();
    for (const fs::directory_entry& file : fs::directory_iterator(folder, ignored)) {
      if (file.path().extension() == ".yaml") there.push_back(file.path().filename().string());
    }
  }
  std::sort(there.begin(), there.end());
  return absl::NotFoundError(absl::StrCat(
      name, ": no such configuration file in the working directory",
      absl::StrJoin(folders, "",
                    [](std::string* out, const fs::path& f) { absl::StrAppend(out, ", ", f.string()); }),
      there.empty() ? "; give its path" : absl::StrCat("; there are ", absl::StrJoin(there, ", "))));
}

std::string ExecutablePath() {
  std::error_code error;
  const fs::path path = fs::read_symlink("/proc/self/exe", error);
  return error ? "" : path.string();
}

}  // namespace trainer::config
