// The HTTP endpoint that Prometheus fetches a run's metrics from.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/telemetry/auth_file.h"
#include "trainer/telemetry/text_server.h"

namespace trainer::telemetry {

// Serves /metrics while it lives, on a thread of its own (see TextServer).
class MetricsEndpoint {
 public:
  // `address` is host:port, or :port or port for this machine alone; port 0 is any free one. Where the port
  // is taken, one of the next 100 is, and a warning says so. `auth_file` names a file with one line
  // user:password, which everyone who asks must give; empty: none. Warns of what lets others in. `text` makes
  // the answers, on that thread. Errors (kInvalidArgument): what cannot be read or listened on,
  // with the key's name.
  static absl::StatusOr<std::unique_ptr<MetricsEndpoint>> Open(const std::string& address,
                                                               const std::string& auth_file,
                                                               std::function<std::string()> text,
                                                               const WarnFunction& warn);
  ~MetricsEndpoint();

  // http://127.0.0.1:9400/metrics; where all of the machine's addresses are listened on, with its name.
  const std::string& url() const { return url_; }

 private:
  MetricsEndpoint(std::unique_ptr<TextServer> server, std::string url);

  const std::unique_ptr<TextServer> server_;
  const std::string url_;
};

}  // namespace trainer::telemetry
