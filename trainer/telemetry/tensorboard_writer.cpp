// Field numbers are those of TensorBoard's event.proto.
#include "trainer/telemetry/tensorboard_writer.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "trainer/telemetry/unix_time.h"
#include "trainer/telemetry/whole_writes.h"

namespace trainer::telemetry {
namespace {

namespace fs = std::filesystem;

constexpr char kPrefix[] = "events.out.tfevents.";
constexpr uint64_t kSessionStart = 1;
constexpr int64_t kLastSecond = 9'999'999'999;  // of ten digits: those with more sort otherwise

Message Event(double unix_seconds, int64_t step) {
  Message event;
  event.Double(1, unix_seconds).Integer(2, static_cast<uint64_t>(step));
  return event;
}

absl::Status FileError(const std::string& what, const std::string& path, const std::string& why) {
  return absl::ResourceExhaustedError(
      absl::StrCat(what, " ", path, ": ", why,
                   "; free some space, set run.dir to another disk, or set metrics.tensorboard=false"));
}

// Readers take a folder's files in the order of their names, which begin with a second: the newest file's.
int64_t NewestSecond(const std::string& folder, std::error_code* error) {
  int64_t newest = 0;
  for (fs::directory_iterator entry(folder, *error), end; !*error && entry != end; entry.increment(*error)) {
    const std::string name = entry->path().filename().string();
    absl::string_view rest = name;
    int64_t second = 0;
    if (absl::ConsumePrefix(&rest, kPrefix) && absl::SimpleAtoi(rest.substr(0, rest.find('.')), &second) &&
        second < kLastSecond) {
      newest = std::max(newest, second);
    }
  }
  return newest;
}

}  // namespace

absl::StatusOr<TensorBoardWriter> TensorBoardWriter::Open(const std::string& folder, int64_t last_step) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) return FileError("cannot create", folder, error.message());
  const int64_t newest = NewestSecond(folder, &error);
  if (error) return FileError("cannot read", folder, error.message());
  const double now = UnixSeconds();
  char host[256] = "localhost";
  gethostname(host, sizeof host - 1);
  const std::string name =
      absl::StrFormat("%s%010d.%s", kPrefix, std::max(static_cast<int64_t>(now), newest + 1), host);

  TensorBoardWriter writer(folder, (fs::path(folder) / name).string());
  Message version = Event(now, 0);
  version.Bytes(3, "brain.Event:2");
  if (auto status = writer.Append(version); !status.ok()) return status;
  Message session, start = Event(now, last_step + 1);
  session.Integer(1, kSessionStart);
  start.Submessage(7, session);
  if (auto status = writer.Append(start); !status.ok()) return status;
  return writer;
}

absl::Status TensorBoardWriter::Write(const Summary& summary, int64_t step, double unix_seconds) {
  if (summary.empty()) return absl::OkStatus();
  return Append(Event(unix_seconds, step).Submessage(5, summary.message()));
}

absl::Status TensorBoardWriter::Append(const Message& event) {
  const int error = AppendWhole(path_, TfRecord(event.bytes()));
  return error == 0 ? absl::OkStatus() : FileError("cannot write", path_, std::strerror(error));
}

}  // namespace trainer::telemetry
