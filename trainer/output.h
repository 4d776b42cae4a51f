// Where the commands' answers go: checked before the work begins, so that hours of it are not lost at the
// end.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "absl/status/status.h"

namespace trainer {

// Whether data::WriteOutputFile can write to `path`: its folder is there and may be written to, and `path` is
// no folder. kInvalidArgument, naming `option`.
absl::Status CheckOutputFile(const std::string& path, const std::string& option);

// Makes the folder `path` where it is not there yet, with all above it. kInvalidArgument, naming `option`,
// where it cannot be made or written to.
absl::Status MakeOutputFolder(const std::string& path, const std::string& option);

// A plot's title: "449 utterances of split test, .../runs/mine/checkpoints/best", the checkpoint's beginning
// left out where it is too long for a plot.
std::string PlotTitle(const std::string& what, const std::string& source, const std::string& checkpoint);

// `object` on one line, without a line end. Bytes that are not UTF-8 (in a path, say) become U+FFFD.
std::string JsonLine(const nlohmann::ordered_json& object);

// The same and a line end, on standard output.
void PrintJsonLine(const nlohmann::ordered_json& object);

}  // namespace trainer
