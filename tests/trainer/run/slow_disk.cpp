// A disk that takes SLOW_FSYNC_SECONDS for each fsync of a checkpoint's file, and SLOW_WRITE_SECONDS for each
// write to metrics.jsonl. For LD_PRELOAD.
#include <dlfcn.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <string>

namespace {

// Sleeps as long as the environment variable says, where the path of `fd` holds `part`.
void SleepFor(const char* variable, int fd, const char* part) {
  const char* seconds = std::getenv(variable);
  if (seconds == nullptr) return;
  char path[4096] = {};
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  if (readlink(link.c_str(), path, sizeof path - 1) > 0 && std::strstr(path, part) != nullptr) {
    usleep(static_cast<useconds_t>(1e6 * std::atof(seconds)));
  }
}

template <typename Function>
Function* Next(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

}  // namespace

extern "C" int fsync(int fd) {
  static auto* const next = Next<int(int)>("fsync");
  SleepFor("SLOW_FSYNC_SECONDS", fd, "/.tmp-step-");
  return next(fd);
}

extern "C" ssize_t write(int fd, const void* bytes, size_t count) {
  static auto* const next = Next<ssize_t(int, const void*, size_t)>("write");
  SleepFor("SLOW_WRITE_SECONDS", fd, "/metrics.jsonl");
  return next(fd, bytes, count);
}

extern "C" ssize_t writev(int fd, const struct iovec* pieces, int count) {
  static auto* const next = Next<ssize_t(int, const struct iovec*, int)>("writev");
  SleepFor("SLOW_WRITE_SECONDS", fd, "/metrics.jsonl");
  return next(fd, pieces, count);
}
