// The HTTP endpoint that Prometheus fetches a run's metrics from.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace trainer::telemetry {

// Called with one line for people; by any thread.
using WarnFunction = std::function<void(const std::string&)>;

// Serves /metrics while it lives, on threads of its own that receive no signals.
class MetricsEndpoint {
 public:
  // `address` is host:port, or :port or port for this machine alone; port 0 is any free one. Where the port
  // is taken, one of the next 100 is, and a warning says so. `auth_file` names a file with one line
  // user:password, which everyone who asks must give; empty: none. Warns of what lets others in. `text` makes
  // the answers, by several threads at once. Errors (kInvalidArgument): what cannot be read or listened on,
  // with the key's name.
  static absl::StatusOr<std::unique_ptr<MetricsEndpoint>> Open(const std::string& address,
                                                               const std::string& auth_file,
                                                               std::function<std::string()> text,
                                                               const WarnFunction& warn);
  // Waits for answers that are under way, for two seconds at most.
  ~MetricsEndpoint();

  // http://127.0.0.1:9400/metrics; where all of the machine's addresses are listened on, with its name.
  const std::string& url() const { return url_; }

 private:
  class Server;

  MetricsEndpoint(std::unique_ptr<Server> server, std::string url);

  const std::unique_ptr<Server> server_;
  const std::string url_;
};

}  // namespace trainer::telemetry
