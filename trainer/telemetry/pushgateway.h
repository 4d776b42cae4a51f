// A Pushgateway that keeps a run's metrics for a Prometheus that cannot reach the run itself.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace trainer::telemetry {

class Pushgateway {
 public:
  // `address` is host:port or a URL (http or https); `user` is user:password, or empty; `run` names the group
  // that the metrics are kept under, beside the job "trainer". Nothing is sent yet. Errors: no such address.
  static absl::StatusOr<Pushgateway> At(const std::string& address, const std::string& user,
                                        const std::string& run);

  // Replaces the group's metrics by `text`, in Prometheus' text format. Takes at most two seconds, also where
  // no name server answers. Errors: that, and what the other side says.
  absl::Status Push(const std::string& text) const;

 private:
  Pushgateway(std::string url, std::string user, std::string shown)
      : url_(std::move(url)), user_(std::move(user)), shown_(std::move(shown)) {}

  std::string url_;
  std::string user_;
  std::string shown_;  // the address, for people
};

}  // namespace trainer::telemetry
