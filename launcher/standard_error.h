#pragma once

#include <unistd.h>

#include <cerrno>
#include <string_view>

namespace launcher {

// Writes all of it, or as much as is taken: whoever reads may be gone. Not through stdio, whose locks a stuck
// thread may hold. Any thread.
inline void WriteToStandardError(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(STDERR_FILENO, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return;
    bytes.remove_prefix(static_cast<size_t>(written));
  }
}

}  // namespace launcher
