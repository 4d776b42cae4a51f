// A disk that takes SLOW_FSYNC_SECONDS for each fsync of a checkpoint's file. For LD_PRELOAD.
#include <dlfcn.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <string>

extern "C" int fsync(int fd) {
  static auto* const system_fsync = reinterpret_cast<int (*)(int)>(dlsym(RTLD_NEXT, "fsync"));
  char path[4096] = {};
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  const char* seconds = std::getenv("SLOW_FSYNC_SECONDS");
  if (seconds != nullptr && readlink(link.c_str(), path, sizeof path - 1) > 0 &&
      std::strstr(path, "/.tmp-step-") != nullptr) {
    usleep(static_cast<useconds_t>(1e6 * std::atof(seconds)));
  }
  return system_fsync(fd);
}
