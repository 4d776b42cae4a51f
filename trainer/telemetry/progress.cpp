#include "trainer/telemetry/progress.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "trainer/telemetry/log.h"

namespace trainer::telemetry {
namespace {

constexpr int kLongestBar = 30;
constexpr int kShortestBar = 4;
constexpr int kBarNeeds = 60;  // columns, below which there is none

}  // namespace

std::string ProgressLine(const Progress& progress, int columns) {
  const double done = progress.total_steps > 0
                          ? static_cast<double>(progress.step) / static_cast<double>(progress.total_steps)
                          : 0;
  // In the order in which they are given up where there is little room, last first.
  const std::vector<std::string> parts = {
      absl::StrFormat("%3.0f%% %d/%d", 100 * done, progress.step, progress.total_steps),
      absl::StrCat("left ", FormatDuration(progress.seconds_left)),
      absl::StrFormat("loss %.3f", progress.loss),
      absl::StrFormat("acc %.0f%%", 100 * progress.accuracy),
      absl::StrFormat("lr %.0e", progress.learning_rate),
      absl::StrFormat("%.0f utt/s", progress.utterances_per_second),
      absl::StrFormat("wait %.0f%%", 100 * progress.wait),
  };
  const int room = columns < kBarNeeds ? columns : columns - kShortestBar - 3;  // brackets, a space
  std::string figures;
  for (const auto& part : parts) {
    if (static_cast<int>(figures.size() + 1 + part.size()) > room) break;
    absl::StrAppend(&figures, figures.empty() ? "" : " ", part);
  }
  if (columns < kBarNeeds) return figures;
  const int bar = std::min(columns - static_cast<int>(figures.size()) - 3, kLongestBar);
  const int full = std::clamp(static_cast<int>(done * bar), 0, bar);
  return absl::StrCat("[", std::string(full, '#'), std::string(bar - full, '.'), "] ", figures);
}

int TerminalColumns() {
  const bool under_mpirun = std::getenv("OMPI_COMM_WORLD_RANK") != nullptr;
  const int output =
      under_mpirun ? open(absl::StrCat("/proc/", getppid(), "/fd/1").c_str(), O_WRONLY | O_NOCTTY | O_CLOEXEC)
                   : dup(STDOUT_FILENO);
  if (output < 0) return 0;
  winsize size{};
  int columns = 0;
  if (isatty(output) != 0)
    columns = ioctl(output, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
  close(output);
  return columns;
}

}  // namespace trainer::telemetry
