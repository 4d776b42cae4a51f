// The HTTP endpoint that Prometheus fetches a run's metrics from.
#pragma once

#include <prometheus/collectable.h>

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace prometheus {
class Exposer;
}

namespace trainer::telemetry {

// Called with one line for people; by any thread.
using WarnFunction = std::function<void(const std::string&)>;

// Serves /metrics while it lives, on threads of its own that receive no signals.
class MetricsEndpoint {
 public:
  // `address` is host:port, or :port or port for this machine alone; port 0 is any free one. Where the port
  // is taken, one of the next 100 is, and a warning says so. `auth_file` names a file with one line
  // user:password, which everyone who asks must give; empty: none. Warns of what lets others in. Errors
  // (kInvalidArgument): what cannot be read or listened on, with the key's name.
  static absl::StatusOr<std::unique_ptr<MetricsEndpoint>> Open(
      const std::string& address, const std::string& auth_file,
      const std::weak_ptr<prometheus::Collectable>& metrics, const WarnFunction& warn);
  ~MetricsEndpoint();

  // http://127.0.0.1:9400/metrics; where all of the machine's addresses are listened on, with its name.
  const std::string& url() const { return url_; }

 private:
  MetricsEndpoint(std::unique_ptr<prometheus::Exposer> exposer, std::string host, std::string url);

  std::unique_ptr<prometheus::Exposer> exposer_;
  const std::string host_;
  const std::string url_;
};

}  // namespace trainer::telemetry
