#include "trainer/telemetry/whole_writes.h"

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <system_error>

namespace trainer::telemetry {
namespace {

// What the C library said last, for calls that need not say anything.
int LastError() { return errno != 0 ? errno : EIO; }

}  // namespace

int ReplaceFile(const std::string& path, const std::string& content) {
  const std::string temporary = path + ".tmp";
  errno = 0;
  std::ofstream file(temporary, std::ios::trunc | std::ios::binary);
  file << content;
  file.close();
  if (file && std::rename(temporary.c_str(), path.c_str()) == 0) return 0;
  const int error = LastError();
  std::remove(temporary.c_str());
  return error;
}

int AppendWhole(const std::string& path, const std::string& bytes) {
  std::error_code absent;
  const std::uintmax_t size = std::filesystem::file_size(path, absent);
  errno = 0;
  std::ofstream file(path, std::ios::app | std::ios::binary);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  file.close();
  if (file) return 0;
  const int error = LastError();
  std::error_code ignored;
  std::filesystem::resize_file(path, absent ? 0 : size, ignored);
  return error;
}

}  // namespace trainer::telemetry
